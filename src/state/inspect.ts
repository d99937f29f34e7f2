import { TsvmmError } from '../util/errors.ts'
import type { Carrier } from './carried.ts'

/** A component as those who look for a fault see it. */
export interface ComponentInfo {
  readonly name: string
  /** What of it travels. */
  readonly state: 'saved' | 'stateless' | 'pinned'
  /** Of what is saved: the schema and its version. */
  readonly schema?: string
  readonly version?: number
  /** Why it cannot travel. */
  readonly reason?: string
}

export interface ComponentInspection extends ComponentInfo {
  /** What would be saved, as its schema has it: numbers, texts, bytes, lists and records. */
  readonly content?: unknown
}

/** All of a machine, in the order of its list. */
export function listComponents(carriers: readonly Carrier[]): ComponentInfo[] {
  return carriers.map(describe)
}

/** Only while paused. Throws ERR_DEVICE_UNKNOWN. */
export function inspectComponent(carriers: readonly Carrier[], name: string): ComponentInspection {
  const carrier = carriers.find(each => each.name === name)
  if (carrier === undefined) throw new TsvmmError('ERR_DEVICE_UNKNOWN', { id: name })
  const info = describe(carrier)
  return carrier.state.kind === 'saved' ? { ...info, content: carrier.state.part.save() } : info
}

function describe({ name, state }: Carrier): ComponentInfo {
  switch (state.kind) {
    case 'saved':
      return { name, state: state.kind, schema: state.part.schema.id, version: state.part.schema.version }
    case 'pinned':
      return { name, state: state.kind, reason: state.reason }
    case 'stateless':
      return { name, state: state.kind }
  }
}
