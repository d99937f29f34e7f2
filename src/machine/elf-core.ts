import { alignUp, concatenate, consecutive, Layout } from '../util/bytes.ts'

/** Elf64_Ehdr behind e_ident, and Elf64_Phdr (elf(5)). */
const elfHeader = new Layout(64, {
  ...consecutive(['type', 'machine'], 2, 16),
  version: { offset: 20, width: 4 },
  programHeaders: { offset: 32, width: 8 },
  ...consecutive(['headerBytes', 'programHeaderBytes', 'programHeaderCount'], 2, 52),
})
const programHeader = new Layout(56, {
  type: { offset: 0, width: 4 },
  ...consecutive(['offset', 'virtualAddress', 'physicalAddress', 'fileBytes', 'memoryBytes'], 8, 8),
})
/** \x7fELF, 64-bit, little-endian, version 1. */
const identification = Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1)
const core = 4
const types = { load: 1, note: 4 } as const

/** Memory begins where a page of the file does, so that what is zero can be a hole in it. */
const alignmentBytes = 4096

/** A part of guest memory in a core file. */
export interface CoreSegment {
  readonly guestAddress: number
  readonly sizeBytes: number
  /** In the file. */
  readonly offset: number
}

export interface CoreLayout {
  /** What the file begins with. */
  readonly header: Uint8Array
  readonly segments: readonly CoreSegment[]
}

/** An ELF core file of a whole machine: addresses are physical. `machine` is ELF's number of the architecture. */
export function coreLayout(
  machine: number,
  notes: Uint8Array,
  ranges: readonly { readonly guestAddress: number; readonly sizeBytes: number }[],
): CoreLayout {
  const count = 1 + ranges.length
  const notesOffset = elfHeader.sizeBytes + count * programHeader.sizeBytes
  let offset = alignUp(notesOffset + notes.length, alignmentBytes)
  const segments = ranges.map(({ guestAddress, sizeBytes }) => {
    const segment = { guestAddress, sizeBytes, offset }
    offset = alignUp(offset + sizeBytes, alignmentBytes)
    return segment
  })
  const header = elfHeader.encode({
    ...{ type: core, machine, version: 1, programHeaders: elfHeader.sizeBytes },
    ...{ headerBytes: elfHeader.sizeBytes, programHeaderBytes: programHeader.sizeBytes, programHeaderCount: count },
  })
  header.set(identification)
  const headers = [
    { type: types.note, offset: notesOffset, fileBytes: notes.length, memoryBytes: notes.length },
    ...segments.map(({ guestAddress, sizeBytes, offset }) => {
      return { type: types.load, offset, physicalAddress: guestAddress, fileBytes: sizeBytes, memoryBytes: sizeBytes }
    }),
  ].map(each => programHeader.encode(each))
  return { header: concatenate([header, ...headers, notes]), segments }
}
