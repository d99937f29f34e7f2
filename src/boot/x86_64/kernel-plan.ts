import type { EntryRegisters } from '../../hypervisor/x86_64/entry-state.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { MemoryMapEntry } from '../../platform/x86_64/address-map.ts'
import type { LoadSegment, MemoryRange } from '../placement.ts'

/** What a kernel is told of the machine. */
export interface Handoff {
  readonly commandLineAddress: number
  readonly rsdpAddress: number
  readonly initramfs: MemoryRange | undefined
  readonly memoryMap: readonly MemoryMapEntry[]
}

/** How a kernel wants to be loaded and entered: all that can be known from its headers, whatever the boot protocol. */
export interface KernelPlan {
  readonly segments: readonly LoadSegment[]
  /** Memory that the kernel uses before it knows of anything else: nothing may be placed there. */
  readonly reserved: readonly MemoryRange[]
  /** One past the last byte that an initramfs may have. */
  readonly initramfsLimit: number
  /** Without the zero byte. */
  readonly commandLineMaximumBytes: number
  /** Writes what the protocol passes in memory; the first vCPU begins with the registers that come back. */
  handOff(memory: GuestMemory, handoff: Handoff): EntryRegisters
}
