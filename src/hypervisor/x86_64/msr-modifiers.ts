import { TsvmmError } from '../../util/errors.ts'
import type { Vcpu } from '../hypervisor.ts'
import { archCapabilities, missingInMsr } from './feature-msrs.ts'
import { readMsrs, writeMsrs } from './msrs.ts'

/** Bits of one MSR: those of `mask` become those of `value`. */
export interface MsrModifier {
  readonly index: number
  readonly mask: bigint
  readonly value: bigint
}

/**
 * Changes what MSRs a vCPU begins with; `indices` are those that belong to its state. Throws ERR_CPUS for any other, for a
 * value that the host refuses or quietly changes, and for a mitigation that its CPU has not.
 */
export function modifyMsrs(
  vcpu: Pick<Vcpu, 'getMsrs' | 'setMsrs'>,
  indices: Uint32Array,
  modifiers: readonly MsrModifier[],
): void {
  for (const { index, mask, value } of modifiers) {
    const before = indices.includes(index) ? readMsrs(vcpu, Uint32Array.of(index)).get(index) : undefined
    if (before === undefined) throw refused(`this host has no MSR 0x${index.toString(16)}`)
    const after = (before & ~mask) | (value & mask)
    // KVM takes any value for this one; of the others it knows what it can keep.
    const missing = index === archCapabilities ? missingInMsr(index, after, before) : []
    if (missing.length > 0) throw refused(`it asks for ${missing.join(', ')}, not there on this host`)
    const isRefused = writeMsrs(vcpu, new Map([[index, after]])).size > 0
    if (!isRefused && readMsrs(vcpu, Uint32Array.of(index)).get(index) === after) continue
    throw refused(`this host cannot set MSR 0x${index.toString(16)} to 0x${after.toString(16)}`)
  }
}

function refused(reason: string): TsvmmError {
  return new TsvmmError('ERR_CPUS', { reason: `template: ${reason}` })
}
