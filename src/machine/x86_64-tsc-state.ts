import { defineState, type StateOf } from '../state/schema.ts'
import { list, object, u32, u64 } from '../state/shapes.ts'

/** More vCPUs than KVM has. */
const mostVcpus = 65_536

/** The first vCPU's counter at the moment in which the clock was stopped, and how far each is ahead of it, modulo 2^64. */
export const x86TscState = defineState(
  'tsc-x86',
  object({
    /** 0 where the hypervisor cannot tell. */
    kilohertz: u32,
    stoppedAt: u64,
    aheadOfFirst: list(u64, mostVcpus),
  }),
)

export type SavedTsc = StateOf<typeof x86TscState>
