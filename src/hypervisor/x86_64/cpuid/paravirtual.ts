import type { CpuidTable } from './entry.ts'

/** Where the hypervisor introduces itself, what it offers, and where guests look for frequencies. */
const signatureLeaf = 0x4000_0000
const featureLeaf = 0x4000_0001
const frequencyLeaf = 0x4000_0010

/** "KVMK", of "KVMKVMKVM" in ebx, ecx and edx. */
const kvmSignature = 0x4b4d_564b

/** Hints in KVM's features: a vCPU is never taken off its CPU. Only who pins vCPUs could promise that. */
const realtimeHint = 1

/** KVM's own leaves as the host offers them, without promises about time (Linux Documentation/virt/kvm/x86/cpuid.rst). */
export function addKvmLeaves(table: CpuidTable): void {
  table.change(featureLeaf, 0, ({ edx }) => ({ edx: edx & ~realtimeHint }))
}

/** The rate of the local APIC's timer that KVM emulates: one tick a nanosecond. */
const apicKilohertz = 1_000_000

/**
 * Tells the guest the frequencies that it would else measure for tens of milliseconds. Linux has the time stamp counter's
 * from the paravirtual clock, and with the TSC deadline timer needs no other; the BSDs read this leaf. Leaf 0x15 stays
 * empty: its crystal would have to be the APIC's, and Linux, which multiplies in 32 bits, would be off by up to a
 * ten-thousandth.
 */
export function addFrequencies(table: CpuidTable, tscKilohertz: number): void {
  if (table.get(signatureLeaf)?.ebx !== kvmSignature) return
  table.change(signatureLeaf, 0, ({ eax }) => ({ eax: Math.max(eax, frequencyLeaf) }))
  table.put({ leaf: frequencyLeaf, eax: tscKilohertz, ebx: apicKilohertz })
}
