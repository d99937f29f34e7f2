import { defineState, type StateOf } from '../state/schema.ts'
import { integer, object, u64 } from '../state/shapes.ts'

export const vmClockState = defineState(
  'vm-clock',
  object({
    /** How often the structure has changed: half of its sequence count. */
    updates: integer(0, 0x7fff_ffff),
    disruptionMarker: u64,
    generation: u64,
  }),
)

export type SavedVmClock = StateOf<typeof vmClockState>
