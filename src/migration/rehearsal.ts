import { decodeRecords, encodeRecords } from '../snapshot/state-file.ts'
import type { Carrier, Snapshottable } from '../state/carried.ts'
import { type ComponentRecord, loadAll, partsAmong, saveAll } from '../state/walk.ts'

/*
 * What is done once while a machine stands still is done in code that has never run before, unless it is rehearsed: in the lab
 * that was the longer part of the pause by far.
 */

const rounds = 3

/** The destination's part, on a machine as it was built: its state is taken and loaded again. Returns that state. */
export async function rehearseLoad(carriers: readonly Carrier[]): Promise<Uint8Array<ArrayBuffer>> {
  for (let round = 1; ; round += 1) {
    const records = encodeRecords(saveAll(carriers))
    loadAll(carriers, decodeRecords(records))
    if (round === rounds) return records
    await breath()
  }
}

/**
 * The source's part, with the state of the destination's machine for its own. Throws TypeError where that is not of the same
 * components.
 */
export async function rehearseSave(carriers: readonly Carrier[], sample: Uint8Array): Promise<void> {
  const records = decodeRecords(sample)
  const parts = new Map(partsAmong(carriers))
  checkNames(parts, records)
  for (let round = 0; round < rounds; round += 1) {
    const again: ComponentRecord[] = []
    for (const record of records) {
      const part = parts.get(record.component)
      if (part !== undefined) again.push(rehearsed(part, record))
      // The machine runs, and may want something.
      await breath()
    }
    encodeRecords(again)
  }
}

function checkNames(parts: ReadonlyMap<string, Snapshottable<unknown>>, records: readonly ComponentRecord[]): void {
  const theirs = new Set(records.map(({ component }) => component))
  const missing = [...parts].flatMap(([name, { isDispensable }]) => {
    return theirs.has(name) || isDispensable !== undefined ? [] : [name]
  })
  const [more] = [...theirs].filter(name => !parts.has(name))
  if (missing.length > 0) throw new TypeError(`its machine has no ${missing.join(', ')}`)
  if (more !== undefined) throw new TypeError(`its machine has ${more}, and this one has not`)
}

/** A newer peer's record cannot be read here, and need not be. */
function rehearsed({ schema }: Snapshottable<unknown>, record: ComponentRecord): ComponentRecord {
  if (record.version > schema.version) return record
  return { component: record.component, ...schema.encodeForOldest(schema.decode(record)) }
}

function breath(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}
