import { defineState, type StateOf } from '../state/schema.ts'
import { integer, object, optional, u64 } from '../state/shapes.ts'
import { rateLevels } from './rate-limiter-state.ts'

export const netState = defineState(
  'virtio-net',
  object({
    activePairs: integer(1, 0x8000),
    /** What the driver has set; absent where it has set none, and what was negotiated is on. */
    guestOffloads: optional(u64),
    /** Of a card that has them. */
    receiveLimiter: optional(rateLevels),
    transmitLimiter: optional(rateLevels),
  }),
)

export type SavedNet = StateOf<typeof netState>
