import { defineState, type StateOf } from '../state/schema.ts'
import { integer, object, optional, u53 } from '../state/shapes.ts'

/** A budget below 0 was taken in advance. */
const level = object({ burst: u53, budget: integer(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER) })

/** What is left of what may be done; a part without a limit is absent. */
export const rateLevels = object({ bytes: optional(level), operations: optional(level) })

/** Of a limiter that disks share. */
export const rateLimitGroupState = defineState('rate-limit-group', rateLevels)

export type RateLevels = StateOf<typeof rateLimitGroupState>
