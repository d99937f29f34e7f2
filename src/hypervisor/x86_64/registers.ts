import { consecutive, Layout } from '../../util/bytes.ts'

export const generalRegisters = [
  ...(['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp'] as const),
  ...(['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rip', 'rflags'] as const),
] as const

/** struct kvm_regs. */
export const kvmRegs = new Layout(144, consecutive(generalRegisters, 8))

export const segmentNames = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'] as const
export type SegmentName = (typeof segmentNames)[number]

/** struct kvm_segment; those of kvm_sregs follow each other in the order of their names. */
export const kvmSegment = new Layout(24, {
  base: { offset: 0, width: 8 },
  limit: { offset: 8, width: 4 },
  selector: { offset: 12, width: 2 },
  ...consecutive(['type', 'present', 'dpl', 'db', 's', 'l', 'g', 'avl', 'unusable'], 1, 14),
})

/** Where in kvm_sregs a segment is. */
export function segmentOffset(name: SegmentName): number {
  return segmentNames.indexOf(name) * kvmSegment.sizeBytes
}

export const controlRegisters = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'apicBase'] as const

/** struct kvm_sregs after its segments: descriptor tables (struct kvm_dtable) and control registers. */
export const kvmSregs = new Layout(312, {
  gdtBase: { offset: 192, width: 8 },
  gdtLimit: { offset: 200, width: 2 },
  idtBase: { offset: 208, width: 8 },
  idtLimit: { offset: 216, width: 2 },
  ...consecutive(controlRegisters, 8, 224),
})

/** struct kvm_lapic_state: the registers of the local APIC at their own offsets (Intel SDM Vol. 3A §11.4.1). */
export const kvmLapic = new Layout(1024, { lint0: { offset: 0x350, width: 4 }, lint1: { offset: 0x360, width: 4 } })
