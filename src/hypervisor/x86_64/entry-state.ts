import { writeUint } from '../../util/bytes.ts'
import { kvmLapic, kvmRegs, kvmSegment, kvmSregs, type SegmentName, segmentOffset } from './registers.ts'

/** Where a boot protocol begins, and what it passes in registers. */
export interface EntryRegisters {
  readonly rip: number
  /** PVH: the start information. */
  readonly rbx: number
  /** Linux: the boot parameters. */
  readonly rsi: number
  readonly rsp: number
}

interface Descriptor {
  readonly selector: number
  readonly type: number
  readonly isSystem: boolean
  readonly limit: number
}

/** The largest limit, which counts in pages. */
const wholeSpace = 0xffff_ffff

/** Segments of a flat 32-bit environment as PVH and the Linux 32-bit protocol ask for: code, data, task state. */
const flatCode: Descriptor = { selector: 0x08, type: 0xb, isSystem: false, limit: wholeSpace }
const flatData: Descriptor = { selector: 0x10, type: 0x3, isSystem: false, limit: wholeSpace }
const taskState: Descriptor = { selector: 0x18, type: 0xb, isSystem: true, limit: 0x67 }
const gdtBytes = 32
const idtBytes = 8

/** The same descriptors as a table in guest memory (Intel SDM Vol. 3A §3.4.5); Linux loads its own at once. */
export function flatGdt(): Uint8Array<ArrayBuffer> {
  const table = new Uint8Array(gdtBytes)
  for (const { selector, type, isSystem, limit } of [flatCode, flatData, taskState]) {
    const isFlat = limit === wholeSpace
    const pages = isFlat ? 0xfffff : limit
    writeUint(table, selector, 2, pages & 0xffff)
    writeUint(table, selector + 5, 1, 0x80 | (isSystem ? 0 : 0x10) | type)
    writeUint(table, selector + 6, 1, ((isFlat ? 0xc : 0) << 4) | (pages >> 16))
  }
  return table
}

/** An interrupt table of one absent gate: an exception before the guest has its own is a triple fault. */
export function emptyIdt(): Uint8Array<ArrayBuffer> {
  return new Uint8Array(idtBytes)
}

const cr0 = { protection: 0x1n, extensionType: 0x10n } as const

/** Changes `sregs` of a fresh vCPU to 32-bit protected mode without paging, with tables at the given addresses. */
export function enterFlatProtectedMode(sregs: Uint8Array, gdtAddress: number, idtAddress: number): void {
  const set = (name: SegmentName, { selector, type, isSystem, limit }: Descriptor) => {
    const wide = limit === wholeSpace ? 1 : 0
    const values = { base: 0, limit, selector, type, present: 1, dpl: 0, db: wide, s: isSystem ? 0 : 1, l: 0, g: wide }
    kvmSegment.write(sregs, { ...values, avl: 0, unusable: 0 }, segmentOffset(name))
  }
  set('cs', flatCode)
  for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) set(name, flatData)
  set('tr', taskState)
  const tables = { gdtBase: gdtAddress, gdtLimit: gdtBytes - 1, idtBase: idtAddress, idtLimit: idtBytes - 1 }
  kvmSregs.write(sregs, { ...tables, cr0: cr0.protection | cr0.extensionType, cr2: 0, cr3: 0, cr4: 0, efer: 0 })
}

/** Bit 1 of the flags is always set; interrupts are off. */
const rflagsReserved = 0x2

/** struct kvm_regs of the vCPU that enters a kernel. */
export function entryRegs({ rip, rbx, rsi, rsp }: EntryRegisters): Uint8Array<ArrayBuffer> {
  return kvmRegs.encode({ rip, rbx, rsi, rsp, rflags: rflagsReserved })
}

const deliveryMode = { mask: 0x700n, nmi: 0x400n, external: 0x700n } as const

/**
 * The local APIC as firmware leaves it: LINT0 takes the 8259's interrupts, LINT1 the NMI (Intel SDM Vol. 3A §11.5.1). What
 * the hypervisor masked stays masked.
 */
export function wireLocalInterrupts(lapic: Uint8Array): void {
  const withMode = (pin: 'lint0' | 'lint1', mode: bigint) => (kvmLapic.read(lapic, pin) & ~deliveryMode.mask) | mode
  kvmLapic.write(lapic, {
    lint0: withMode('lint0', deliveryMode.external),
    lint1: withMode('lint1', deliveryMode.nmi),
  })
}

const miscEnable = 0x1a0
const mtrrDefaultType = 0x2ff

/**
 * MSRs that firmware would have set: fast string operations on (Intel SDM Vol. 3A §16.1), MTRRs on and all memory write-back
 * by default (§12.11.2.1). All others that a kernel expects to be zero are so on a fresh vCPU.
 */
export const bootMsrs: readonly (readonly [index: number, value: bigint])[] = [
  [miscEnable, 0x1n],
  [mtrrDefaultType, 0x806n],
]
