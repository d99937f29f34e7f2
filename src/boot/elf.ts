import { consecutive, Layout, readUint } from '../util/bytes.ts'
import { TsvmmError } from '../util/errors.ts'
import type { BootFile } from './kernel-file.ts'

/** Part of a file and where it goes; what memory has more than the file is zero. */
export interface LoadSegment {
  readonly fileOffset: number
  readonly fileBytes: number
  readonly guestAddress: number
  readonly memoryBytes: number
}

export interface ElfImage {
  readonly segments: readonly LoadSegment[]
  /** Contents of the note of this type from the named owner, if there is one. */
  note(owner: string, type: number): Uint8Array | undefined
}

/** Elf64_Ehdr (System V ABI, gABI 4.1, chapter 4). */
const fileHeader = new Layout(64, {
  magic: { offset: 0, width: 4 },
  elfClass: { offset: 4, width: 1 },
  encoding: { offset: 5, width: 1 },
  machine: { offset: 18, width: 2 },
  programHeaderOffset: { offset: 32, width: 8 },
  programHeaderBytes: { offset: 54, width: 2 },
  programHeaders: { offset: 56, width: 2 },
})

/** Elf64_Phdr. */
const programHeader = new Layout(56, {
  type: { offset: 0, width: 4 },
  ...consecutive(['offset', 'virtualAddress', 'physicalAddress', 'fileBytes', 'memoryBytes'], 8, 8),
})

const elfMagic = 0x464c457f
const class64 = 2
const littleEndian = 1
const typeLoad = 1
const typeNote = 4
const maximumNoteBytes = 64 * 1024

export function isElf(file: BootFile): boolean {
  const magic = file.read(0, 4)
  return magic.length === 4 && Number(readUint(magic, 0, 4)) === elfMagic
}

/** Reads and checks the headers of a 64-bit little-endian ELF for `machine`. Throws ERR_KERNEL_FORMAT. */
export function readElf(file: BootFile, machine: number): ElfImage {
  const fail = (reason: string): never => {
    throw new TsvmmError('ERR_KERNEL_FORMAT', { path: file.path, reason })
  }
  const header = file.read(0, fileHeader.sizeBytes)
  if (header.length < fileHeader.sizeBytes) fail('the ELF header is cut off')
  if (fileHeader.readNumber(header, 'elfClass') !== class64) fail('not a 64-bit ELF')
  if (fileHeader.readNumber(header, 'encoding') !== littleEndian) fail('not a little-endian ELF')
  if (fileHeader.readNumber(header, 'machine') !== machine) fail('an ELF for another architecture')
  if (fileHeader.readNumber(header, 'programHeaderBytes') !== programHeader.sizeBytes) fail('odd program headers')

  const count = fileHeader.readNumber(header, 'programHeaders')
  const tableOffset = fileHeader.readNumber(header, 'programHeaderOffset')
  const table = readWhole(file, tableOffset, count * programHeader.sizeBytes)
  if (table === undefined) return fail('the program headers are cut off')

  const segments: LoadSegment[] = []
  const notes: Uint8Array[] = []
  for (let index = 0; index < count; index += 1) {
    const field = (name: string) => programHeader.readNumber(table, name, index * programHeader.sizeBytes)
    const fileOffset = field('offset')
    const fileBytes = field('fileBytes')
    const memoryBytes = field('memoryBytes')
    if (field('type') === typeNote) {
      if (fileBytes > maximumNoteBytes) fail('a note segment is too large')
      const note = readWhole(file, fileOffset, fileBytes)
      if (note === undefined) return fail('a note segment is cut off')
      notes.push(note)
    }
    if (field('type') !== typeLoad || memoryBytes === 0) continue
    if (fileOffset + fileBytes > file.sizeBytes) fail(`segment ${index} lies beyond the end of the file`)
    if (fileBytes > memoryBytes) fail(`segment ${index} is larger in the file than in memory`)
    segments.push({ fileOffset, fileBytes, guestAddress: field('physicalAddress'), memoryBytes })
  }
  if (segments.length === 0) fail('nothing to load in this ELF')
  const overlap = findOverlap(segments)
  if (overlap !== undefined) fail(`segments overlap at 0x${overlap.toString(16)}`)
  return { segments, note: (owner, type) => findNote(notes, owner, type) }
}

function readWhole(file: BootFile, offset: number, lengthBytes: number): Uint8Array | undefined {
  if (!Number.isSafeInteger(offset) || offset + lengthBytes > file.sizeBytes) return undefined
  const bytes = file.read(offset, lengthBytes)
  return bytes.length === lengthBytes ? bytes : undefined
}

function findOverlap(segments: readonly LoadSegment[]): number | undefined {
  const sorted = segments.toSorted((a, b) => a.guestAddress - b.guestAddress)
  let end = 0
  for (const { guestAddress, memoryBytes } of sorted) {
    if (guestAddress < end) return guestAddress
    end = guestAddress + memoryBytes
  }
  return undefined
}

/** Walks Elf64_Nhdr records: name size, descriptor size, type, then both padded to four bytes. */
function findNote(segments: readonly Uint8Array[], owner: string, type: number): Uint8Array | undefined {
  const headerBytes = 12
  const padded = (size: number) => Math.ceil(size / 4) * 4
  for (const bytes of segments) {
    let offset = 0
    while (offset + headerBytes <= bytes.length) {
      const nameBytes = Number(readUint(bytes, offset, 4))
      const contentBytes = Number(readUint(bytes, offset + 4, 4))
      const noteType = Number(readUint(bytes, offset + 8, 4))
      const contentOffset = offset + headerBytes + padded(nameBytes)
      if (contentOffset + contentBytes > bytes.length) break
      const name = Buffer.from(bytes.subarray(offset + headerBytes, offset + headerBytes + nameBytes)).toString(
        'latin1',
      )
      if (noteType === type && name === `${owner}\0`) return bytes.subarray(contentOffset, contentOffset + contentBytes)
      offset = contentOffset + padded(contentBytes)
    }
  }
  return undefined
}
