import type { Vcpu } from '../hypervisor.ts'

export const timeStampCounter = 0x10

/** The values of those that KVM reads; others are left out. */
export function readMsrs(vcpu: Pick<Vcpu, 'getMsrs'>, indices: Uint32Array): Map<number, bigint> {
  const values = new Map<number, bigint>()
  let next = 0
  while (next < indices.length) {
    const wanted = indices.subarray(next)
    const read = vcpu.getMsrs(wanted)
    for (const [place, value] of read.entries()) values.set(wanted[place] ?? 0, value)
    // It stops at the first that it refuses.
    next += read.length + 1
  }
  return values
}

/** Writes them one by one; returns those that KVM refuses, as the host or the guest's CPUID has not their feature. */
export function writeMsrs(vcpu: Pick<Vcpu, 'setMsrs'>, values: ReadonlyMap<number, bigint>): Map<number, bigint> {
  const refused = new Map<number, bigint>()
  for (const [index, value] of values) {
    try {
      vcpu.setMsrs(Uint32Array.of(index), BigUint64Array.of(value))
    } catch {
      refused.set(index, value)
    }
  }
  return refused
}
