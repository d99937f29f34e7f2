import { defineState, type StateOf } from '../state/schema.ts'
import { flag, object, u53 } from '../state/shapes.ts'

/** The guest's disk must not shrink below `sizeBytes`. */
export const blkState = defineState('virtio-blk', object({ isWriteback: flag, sizeBytes: u53 }))

export type SavedBlk = StateOf<typeof blkState>
