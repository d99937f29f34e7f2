import { alignUp, consecutive, Layout, readNumber } from '../util/bytes.ts'
import type { BootFile } from './boot-file.ts'
import { describeRange, findOverlap, type LoadSegment, memoryOf } from './placement.ts'

export interface ElfImage {
  readonly segments: readonly LoadSegment[]
  /** Contents of the note of this type from the named owner, if there is one. */
  note(owner: string, type: number): Uint8Array | undefined
}

/** Beginning of both Elf32_Ehdr and Elf64_Ehdr (System V ABI, gABI 4.1, chapter 4). */
const identification = new Layout(24, {
  magic: { offset: 0, width: 4 },
  elfClass: { offset: 4, width: 1 },
  encoding: { offset: 5, width: 1 },
  type: { offset: 16, width: 2 },
  machine: { offset: 18, width: 2 },
})

/** What differs between the classes: Elf32_Ehdr and Elf32_Phdr, Elf64_Ehdr and Elf64_Phdr. */
const classes = {
  1: {
    file: new Layout(52, {
      programHeaderOffset: { offset: 28, width: 4 },
      ...consecutive(['programHeaderBytes', 'programHeaders'], 2, 42),
    }),
    program: new Layout(32, {
      ...consecutive(['type', 'offset', 'virtualAddress', 'physicalAddress', 'fileBytes', 'memoryBytes'], 4),
      alignment: { offset: 28, width: 4 },
    }),
  },
  2: {
    file: new Layout(64, {
      programHeaderOffset: { offset: 32, width: 8 },
      ...consecutive(['programHeaderBytes', 'programHeaders'], 2, 54),
    }),
    program: new Layout(56, {
      type: { offset: 0, width: 4 },
      ...consecutive(['offset', 'virtualAddress', 'physicalAddress', 'fileBytes', 'memoryBytes', 'alignment'], 8, 8),
    }),
  },
} as const

const elfMagic = 0x464c457f
const littleEndian = 1
const executableTypes = [2, 3]
const typeLoad = 1
const typeNote = 4
const maximumNoteBytes = 64 * 1024

export function isElf(header: Uint8Array): boolean {
  return header.length >= 4 && identification.readNumber(header, 'magic') === elfMagic
}

interface ProgramHeader {
  readonly type: number
  readonly offset: number
  readonly physicalAddress: number
  readonly fileBytes: number
  readonly memoryBytes: number
  readonly alignment: number
}

/**
 * Reads and checks the headers of a little-endian executable for one of `machines`, of 32 or 64 bits.
 * Throws ERR_KERNEL_FORMAT.
 */
export function readElf(file: BootFile, machines: readonly number[]): ElfImage {
  const headers = readProgramHeaders(file, machines)
  const segments = headers
    .filter(({ type, memoryBytes }) => type === typeLoad && memoryBytes > 0)
    .map(header => segmentOf(file, header))
  if (segments.length === 0) throw malformed(file, 'nothing to load in this ELF')
  const overlap = findOverlap(segments.map(memoryOf))
  if (overlap !== undefined) throw malformed(file, `the segment at ${describeRange(overlap)} overlaps another`)
  const notes = readNotes(
    file,
    headers.filter(({ type }) => type === typeNote),
  )
  return { segments, note: (owner, type) => findNote(notes, owner, type) }
}

function readProgramHeaders(file: BootFile, machines: readonly number[]): ProgramHeader[] {
  const start = file.read(0, 64)
  if (start.length < identification.sizeBytes) throw malformed(file, 'the ELF header is cut off')
  const elfClass = identification.readNumber(start, 'elfClass')
  if (elfClass !== 1 && elfClass !== 2) throw malformed(file, 'neither a 32-bit nor a 64-bit ELF')
  if (identification.readNumber(start, 'encoding') !== littleEndian) throw malformed(file, 'not a little-endian ELF')
  if (!machines.includes(identification.readNumber(start, 'machine'))) {
    throw malformed(file, 'an ELF for another architecture')
  }
  if (!executableTypes.includes(identification.readNumber(start, 'type'))) {
    throw malformed(file, 'an ELF, but not an executable')
  }
  const { file: fileHeader, program } = classes[elfClass]
  if (start.length < fileHeader.sizeBytes) throw malformed(file, 'the ELF header is cut off')
  if (fileHeader.readNumber(start, 'programHeaderBytes') !== program.sizeBytes) {
    throw malformed(file, 'program headers of an unknown size')
  }
  const count = fileHeader.readNumber(start, 'programHeaders')
  const table = file.readWhole(fileHeader.readNumber(start, 'programHeaderOffset'), count * program.sizeBytes)
  if (table === undefined) throw malformed(file, 'the program headers are cut off')
  return Array.from({ length: count }, (_, index) => {
    const field = (name: keyof ProgramHeader) => program.readNumber(table, name, index * program.sizeBytes)
    return {
      ...{ type: field('type'), offset: field('offset'), physicalAddress: field('physicalAddress') },
      ...{ fileBytes: field('fileBytes'), memoryBytes: field('memoryBytes'), alignment: field('alignment') },
    }
  })
}

function segmentOf(file: BootFile, header: ProgramHeader): LoadSegment {
  const { offset: fileOffset, fileBytes, physicalAddress: guestAddress, memoryBytes } = header
  const name = `the segment at 0x${guestAddress.toString(16)}`
  if (!Number.isSafeInteger(guestAddress + memoryBytes)) throw malformed(file, `${name} is beyond all memory`)
  if (fileBytes > memoryBytes) throw malformed(file, `${name} is larger in the file than in memory`)
  if (!file.holds(fileOffset, fileBytes)) throw malformed(file, `cut off: ${name} lies beyond the end of the file`)
  return { fileOffset, fileBytes, guestAddress, memoryBytes }
}

interface NoteSegment {
  readonly bytes: Uint8Array
  readonly alignment: number
}

/** Many headers may name the same bytes: what counts is how much is read for all of them. */
function readNotes(file: BootFile, headers: readonly ProgramHeader[]): NoteSegment[] {
  const sizeBytes = headers.reduce((sum, { fileBytes }) => sum + fileBytes, 0)
  if (sizeBytes > maximumNoteBytes) throw malformed(file, `${sizeBytes} bytes of notes`)
  return headers.map(({ offset, fileBytes, alignment }) => {
    const bytes = file.readWhole(offset, fileBytes)
    if (bytes === undefined) throw malformed(file, 'cut off: the notes lie beyond the end of the file')
    return { bytes, alignment: alignment === 8 ? 8 : 4 }
  })
}

/** Walks Elf64_Nhdr records: sizes of name and contents, type, then both, each padded. */
function findNote(segments: readonly NoteSegment[], owner: string, type: number): Uint8Array | undefined {
  const headerBytes = 12
  for (const { bytes, alignment } of segments) {
    let offset = 0
    while (offset + headerBytes <= bytes.length) {
      const word = (index: number) => readNumber(bytes, offset + index * 4, 4)
      const [nameBytes, contentBytes, noteType] = [word(0), word(1), word(2)]
      const contentOffset = offset + alignUp(headerBytes + nameBytes, alignment)
      if (contentOffset + contentBytes > bytes.length) break
      const name = bytes.subarray(offset + headerBytes, offset + headerBytes + nameBytes)
      if (noteType === type && Buffer.from(name).toString('latin1') === `${owner}\0`) {
        return bytes.subarray(contentOffset, contentOffset + contentBytes)
      }
      offset = contentOffset + alignUp(contentBytes, alignment)
    }
  }
  return undefined
}

function malformed(file: BootFile, reason: string): Error {
  return file.error('ERR_KERNEL_FORMAT', reason)
}
