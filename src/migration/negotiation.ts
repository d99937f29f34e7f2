import type { Carrier } from '../state/carried.ts'
import type { StateSchema } from '../state/schema.ts'
import { partsAmong } from '../state/walk.ts'
import { own } from '../util/own.ts'
import { packageVersion } from '../util/version.ts'
import { protocolVersions } from './protocol.ts'

/** What a side speaks and knows; tests speak something else. */
export interface Speaker {
  readonly protocol: { readonly oldest: number; readonly newest: number }
  readonly software: { readonly name: string; readonly version: string }
  readonly schemas: readonly StateSchema<unknown>[]
}

export function ownSpeaker(schemas: readonly StateSchema<unknown>[]): Speaker {
  return { protocol: protocolVersions, software: { name: 'tsvmm', version: packageVersion }, schemas }
}

/** By its id, the newest version of each. */
export function newestVersions(schemas: readonly StateSchema<unknown>[]): Record<string, number> {
  return Object.fromEntries(schemas.map(({ id, version }) => [id, version]))
}

/** Throws TypeError, naming all whose states a peer that knows these versions could not read, however they are written. */
export function refuseUnreadable(carriers: readonly Carrier[], known: Readonly<Record<string, number>>): void {
  const obstacles = partsAmong(carriers).flatMap(([component, { schema, isDispensable }]) => {
    const newest = own(known, schema.id)
    if ((newest ?? 0) >= schema.oldestWritable) return []
    // It may be that the peer can do without.
    if (newest === undefined && isDispensable !== undefined) return []
    const has = newest === undefined ? 'no version' : `version ${newest} at most`
    return [
      `${component}: it knows ${has} of ${schema.id}, and ${schema.oldestWritable} is the oldest that can be written`,
    ]
  })
  if (obstacles.length > 0) throw new TypeError(obstacles.join('; '))
}
