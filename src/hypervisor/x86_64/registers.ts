import { consecutive, Layout, writeUint } from '../../util/bytes.ts'

const generalRegisters = [
  ...['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
  ...['rip', 'rflags'],
] as const

/** struct kvm_regs. */
export const kvmRegs = new Layout(144, consecutive(generalRegisters, 8))

const segmentNames = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'] as const
const segmentBytes = 24
const gdtOffset = 192
const idtOffset = 208

/** struct kvm_sregs, its control registers; segments and descriptor tables come before them. */
export const kvmSregs = new Layout(312, {
  ...consecutive(['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'apicBase'], 8, 224),
})

/** struct kvm_segment. */
const kvmSegment = new Layout(segmentBytes, {
  base: { offset: 0, width: 8 },
  limit: { offset: 8, width: 4 },
  selector: { offset: 12, width: 2 },
  ...consecutive(['type', 'present', 'dpl', 'db', 's', 'l', 'g', 'avl', 'unusable'], 1, 14),
})

const descriptorTable = new Layout(16, { base: { offset: 0, width: 8 }, limit: { offset: 8, width: 2 } })

interface Segment {
  readonly selector: number
  readonly type: number
  readonly isSystem?: boolean
  readonly limit: number
}

// Descriptors of a flat 32-bit environment as PVH and the Linux 32-bit protocol ask for: code, data, task state.
const flatCode: Segment = { selector: 0x08, type: 0xb, limit: 0xffff_ffff }
const flatData: Segment = { selector: 0x10, type: 0x3, limit: 0xffff_ffff }
const taskState: Segment = { selector: 0x18, type: 0xb, isSystem: true, limit: 0x67 }

/** The same descriptors as bytes for the table in guest memory (Intel SDM Vol. 3A §3.4.5). */
export function flatGdt(): Uint8Array<ArrayBuffer> {
  const table = new Uint8Array(32)
  for (const segment of [flatCode, flatData, taskState]) {
    const isFlat = segment.limit === 0xffff_ffff
    const access = 0x80 | (segment.isSystem ? 0 : 0x10) | segment.type
    const limit = isFlat ? 0xfffff : segment.limit
    const flags = isFlat ? 0xc : 0
    writeUint(table, segment.selector, 2, limit & 0xffff)
    writeUint(table, segment.selector + 5, 1, access)
    writeUint(table, segment.selector + 6, 1, (flags << 4) | (limit >> 16))
  }
  return table
}

const cr0ProtectionEnable = 0x1n
const cr0ExtensionType = 0x10n

/** Changes `sregs` of a fresh vCPU to 32-bit protected mode without paging, the GDT being at `gdtAddress`. */
export function enterFlatProtectedMode(sregs: Uint8Array, gdtAddress: number): void {
  const set = (name: (typeof segmentNames)[number], segment: Segment) => {
    const isFlat = segment.limit === 0xffff_ffff
    const values = { base: 0, limit: segment.limit, selector: segment.selector, type: segment.type, present: 1, dpl: 0 }
    const flags = { db: isFlat ? 1 : 0, s: segment.isSystem ? 0 : 1, l: 0, g: isFlat ? 1 : 0, unusable: 0 }
    kvmSegment.write(sregs, { ...values, ...flags }, segmentNames.indexOf(name) * segmentBytes)
  }
  set('cs', flatCode)
  for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) set(name, flatData)
  set('tr', taskState)
  descriptorTable.write(sregs, { base: gdtAddress, limit: 31 }, gdtOffset)
  descriptorTable.write(sregs, { base: 0, limit: 0 }, idtOffset)
  kvmSregs.write(sregs, { cr0: cr0ProtectionEnable | cr0ExtensionType, cr3: 0, cr4: 0, efer: 0 })
}

/** Local APIC as firmware leaves it: LINT0 takes the 8259's interrupts, LINT1 the NMI (Intel SDM Vol. 3A §11.5.1). */
export function wireLocalInterrupts(lapic: Uint8Array): void {
  const lint0 = 0x350
  const lint1 = 0x360
  writeUint(lapic, lint0, 4, 7 << 8)
  writeUint(lapic, lint1, 4, 4 << 8)
}

/** MSRs that firmware would have set: fast string operations on, memory write-back by default (SDM Vol. 3A §12.11.2). */
export const bootMsrs: readonly (readonly [index: number, value: bigint])[] = [
  [0x1a0, 0x1n],
  [0x2ff, 0x806n],
]

/** What a person needs to see where a guest died, in a few lines. */
export function formatRegisters(regs: Uint8Array, sregs: Uint8Array): string {
  const hex = (value: bigint) => value.toString(16).padStart(16, '0')
  const lines: string[] = []
  const pairs = generalRegisters.map(name => `${name.padEnd(6)} ${hex(kvmRegs.read(regs, name))}`)
  for (let index = 0; index < pairs.length; index += 3) lines.push(pairs.slice(index, index + 3).join('  '))
  const control = (['cr0', 'cr2', 'cr3', 'cr4', 'efer'] as const).map(
    name => `${name} ${hex(kvmSregs.read(sregs, name))}`,
  )
  lines.push(control.slice(0, 3).join('  '), control.slice(3).join('  '))
  const segments = segmentNames.map((name, index) => {
    const base = index * segmentBytes
    return `${name} ${kvmSegment.readNumber(sregs, 'selector', base).toString(16)}@${kvmSegment.read(sregs, 'base', base).toString(16)}`
  })
  lines.push(segments.join(' '))
  return lines.join('\n')
}
