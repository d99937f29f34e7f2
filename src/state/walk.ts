import { TsvmmError } from '../util/errors.ts'
import type { Carrier, Snapshottable } from './carried.ts'
import type { StateRecord } from './schema.ts'

/** The record of one component of the list. */
export interface ComponentRecord extends StateRecord {
  readonly component: string
  /** Who has no such component may leave it out. */
  readonly isDispensable?: boolean | undefined
}

/** What cannot travel now and why, all of it: told before anything is paused. */
export function pinnedAmong(carriers: readonly Carrier[]): readonly { name: string; reason: string }[] {
  return carriers.flatMap(({ name, state }) => (state.kind === 'pinned' ? [{ name, reason: state.reason }] : []))
}

/** The records of all components that have state, in the order of the list. Throws ERR_STATE_PINNED. */
export function saveAll(carriers: readonly Carrier[]): ComponentRecord[] {
  return captureAll(carriers)()
}

/**
 * Takes the state of all components; what is returned makes their records, when the machine may run again. Throws
 * ERR_STATE_PINNED.
 */
export function captureAll(carriers: readonly Carrier[]): () => ComponentRecord[] {
  refusePinned(carriers)
  const captured = carriers.flatMap(({ name, state }) => (state.kind === 'saved' ? [taken(name, state.part)] : []))
  return () => captured.map(encode => encode())
}

/** What would be saved, by the names of its components. */
export function partsAmong(carriers: readonly Carrier[]): readonly (readonly [string, Snapshottable<unknown>])[] {
  return carriers.flatMap(({ name, state }) => (state.kind === 'saved' ? [[name, state.part] as const] : []))
}

/** Throws ERR_STATE_PINNED naming the first that cannot travel. */
export function refusePinned(carriers: readonly Carrier[]): void {
  const [pinned] = pinnedAmong(carriers)
  if (pinned !== undefined) throw new TsvmmError('ERR_STATE_PINNED', { component: pinned.name, reason: pinned.reason })
}

function taken<S>(component: string, part: Snapshottable<S>): () => ComponentRecord {
  const state = part.save()
  const mark = part.isDispensable?.(state) === true ? { isDispensable: true } : {}
  return () => ({ component, ...part.schema.encodeForOldest(state), ...mark })
}

/**
 * Loads a machine's records into one that is built alike: each exactly once, in the order of the list. All are read before the
 * first is loaded, so that a bad one changes nothing. Throws ERR_STATE_INVALID where one is bad, missing, doubled or nobody's.
 */
export function loadAll(carriers: readonly Carrier[], records: readonly ComponentRecord[]): void {
  const left = new Map<string, ComponentRecord>()
  for (const record of records) {
    if (left.has(record.component)) throw invalid(record.component, 'there are two records of it')
    left.set(record.component, record)
  }
  const loads = carriers.flatMap(({ name, state }) => {
    if (state.kind !== 'saved') return []
    const record = left.get(name)
    if (record === undefined) throw invalid(name, 'its record is missing')
    left.delete(name)
    return [reading(state.part, record)]
  })
  for (const { component, isDispensable } of left.values()) {
    if (isDispensable !== true) throw invalid(component, 'the machine has no such component with state')
  }
  for (const load of loads) load()
}

/** Reads the record; what is returned loads it. */
function reading<S>(part: Snapshottable<S>, record: ComponentRecord): () => void {
  const state = part.schema.decode(record)
  return () => part.load(state)
}

function invalid(component: string, reason: string): TsvmmError {
  return new TsvmmError('ERR_STATE_INVALID', { component, reason })
}
