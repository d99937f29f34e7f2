import { defineState } from '../state/schema.ts'
import { object, u53, u64 } from '../state/shapes.ts'

/** The clock that the hypervisor shows to guests, in nanoseconds, and the host's time in milliseconds since 1970 then. */
export const clockState = defineState('kvm-clock', object({ nowNs: u64, hostMs: u53 }))
