import { concatenate, consecutive, Layout } from '../../util/bytes.ts'
import { generalRegisters, kvmRegs, kvmSegment, kvmSregs, type SegmentName, segmentOffset } from './registers.ts'

/** A vCPU's registers as KVM has them. */
export interface CoreRegisters {
  readonly regs: Uint8Array
  readonly sregs: Uint8Array
  readonly kernelGsBase: bigint
}

/** struct elf_prstatus of <linux/elfcore.h>: the process, and behind it struct user_regs_struct. */
const processStatus = new Layout(336, {
  pid: { offset: 32, width: 4 },
  ...consecutive(
    [
      ...(['r15', 'r14', 'r13', 'r12', 'rbp', 'rbx', 'r11', 'r10', 'r9', 'r8', 'rax', 'rcx', 'rdx', 'rsi'] as const),
      ...(['rdi', 'origRax', 'rip', 'cs', 'rflags', 'rsp', 'ss', 'fsBase', 'gsBase', 'ds', 'es', 'fs', 'gs'] as const),
    ],
    8,
    112,
  ),
})

/** QEMU's note, version 1: what a processor has beyond what its programs see, for tools that look into crashed kernels. */
const processorState = new Layout(440, {
  ...consecutive(['version', 'size'], 4),
  ...consecutive(
    [
      ...(['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp'] as const),
      ...(['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rip', 'rflags'] as const),
    ],
    8,
    8,
  ),
  ...consecutive(['cr0', 'cr1', 'cr2', 'cr3', 'cr4', 'kernelGsBase'], 8, 392),
})
const processorSegments = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'ldt', 'tr', 'gdt', 'idt'] as const
const processorSegmentsOffset = 152
const processorSegment = new Layout(24, {
  ...consecutive(['selector', 'limit', 'flags'], 4),
  base: { offset: 16, width: 8 },
})

const noteTypes = { processStatus: 1, processorState: 0 } as const

/** The notes of vCPU `index` in an ELF core file: what debuggers read, and what tools for crashed kernels do. */
export function coreNotes(index: number, registers: CoreRegisters): Uint8Array<ArrayBuffer> {
  return concatenate([
    note('CORE', noteTypes.processStatus, statusOf(index, registers)),
    note('QEMU', noteTypes.processorState, stateOf(registers)),
  ])
}

/** Elf64_Nhdr, name and content, each padded to 4 bytes. */
function note(name: string, type: number, content: Uint8Array): Uint8Array<ArrayBuffer> {
  const header = Uint32Array.of(name.length + 1, content.length, type)
  const padded = new Uint8Array(8)
  padded.set(Buffer.from(name, 'latin1'))
  return concatenate([new Uint8Array(header.buffer), padded, content])
}

/** By name, as both structures have them. */
function generalOf(regs: Uint8Array): Partial<Record<(typeof generalRegisters)[number], bigint>> {
  const values: Partial<Record<(typeof generalRegisters)[number], bigint>> = {}
  for (const name of generalRegisters) values[name] = kvmRegs.read(regs, name)
  return values
}

function statusOf(index: number, { regs, sregs }: CoreRegisters): Uint8Array {
  const selector = (name: SegmentName) => kvmSegment.read(sregs, 'selector', segmentOffset(name))
  const base = (name: SegmentName) => kvmSegment.read(sregs, 'base', segmentOffset(name))
  return processStatus.encode({
    ...generalOf(regs),
    // Debuggers take 0 for no thread.
    pid: index + 1,
    ...{ cs: selector('cs'), ss: selector('ss'), ds: selector('ds'), es: selector('es') },
    ...{ fs: selector('fs'), gs: selector('gs'), fsBase: base('fs'), gsBase: base('gs') },
  })
}

function stateOf({ regs, sregs, kernelGsBase }: CoreRegisters): Uint8Array {
  const control = (name: Parameters<typeof kvmSregs.read>[1]) => kvmSregs.read(sregs, name)
  const state = processorState.encode({
    ...generalOf(regs),
    ...{ version: 1, size: processorState.sizeBytes, kernelGsBase },
    ...{ cr0: control('cr0'), cr2: control('cr2'), cr3: control('cr3'), cr4: control('cr4') },
  })
  for (const [place, name] of processorSegments.entries()) {
    const offset = processorSegmentsOffset + place * processorSegment.sizeBytes
    processorSegment.write(state, segmentOf(name, sregs), offset)
  }
  return state
}

/** Flags are the second word of a descriptor (Intel SDM Vol. 3A §3.4.5). */
function segmentOf(name: (typeof processorSegments)[number], sregs: Uint8Array) {
  if (name === 'gdt') return { base: kvmSregs.read(sregs, 'gdtBase'), limit: kvmSregs.read(sregs, 'gdtLimit') }
  if (name === 'idt') return { base: kvmSregs.read(sregs, 'idtBase'), limit: kvmSregs.read(sregs, 'idtLimit') }
  const field = (field: Parameters<typeof kvmSegment.read>[1]) => kvmSegment.read(sregs, field, segmentOffset(name))
  const isPresent = field('present') !== 0n && field('unusable') === 0n ? 1n : 0n
  const access = (field('type') << 8n) | (field('s') << 12n) | (field('dpl') << 13n) | (isPresent << 15n)
  const others = (field('avl') << 20n) | (field('l') << 21n) | (field('db') << 22n) | (field('g') << 23n)
  return { base: field('base'), limit: field('limit'), selector: field('selector'), flags: access | others }
}
