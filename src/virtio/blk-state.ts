import { defineState, type StateOf } from '../state/schema.ts'
import { flag, object, optional, u53 } from '../state/shapes.ts'
import { rateLevels } from './rate-limiter-state.ts'

/** The guest's disk must not shrink below `sizeBytes`. `limiter` is that of a disk with one of its own. */
export const blkState = defineState(
  'virtio-blk',
  object({ isWriteback: flag, sizeBytes: u53, limiter: optional(rateLevels) }),
)

export type SavedBlk = StateOf<typeof blkState>
