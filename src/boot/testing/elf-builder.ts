import { alignUp, writeUint } from '../../util/bytes.ts'

export interface SegmentSketch {
  readonly address: number
  /** What the file has of it. */
  readonly contents?: Uint8Array
  readonly memoryBytes?: number
  /** Instead of what follows from the contents. */
  readonly fileOffset?: number
  readonly fileBytes?: number
}

export interface NoteSketch {
  readonly owner?: string
  readonly type?: number
  readonly contents: Uint8Array
}

export interface ElfSketch {
  readonly bits?: 32 | 64
  readonly type?: number
  readonly machine?: number
  readonly segments?: readonly SegmentSketch[]
  readonly notes?: readonly NoteSketch[]
  readonly noteAlignment?: number
}

const x86_64 = 62

/** A 32-bit number as note contents. */
export function word(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  writeUint(bytes, 0, 4, value)
  return bytes
}

/** A small ELF for tests: header, program headers, then contents in the order in which they are sketched. */
export function buildElf(sketch: ElfSketch): Uint8Array {
  const { bits = 64, segments = [], notes = [], noteAlignment = 4 } = sketch
  const is64 = bits === 64
  const headerBytes = is64 ? 64 : 52
  const programBytes = is64 ? 56 : 32
  const noteBytes = encodeNotes(notes, noteAlignment)
  const count = segments.length + (notes.length === 0 ? 0 : 1)
  let end = headerBytes + count * programBytes
  const parts = [...segments.map(segment => segment.contents ?? new Uint8Array(0)), noteBytes]
  const offsets = parts.map(part => {
    const offset = alignUp(end, 16)
    end = offset + part.length
    return offset
  })
  const bytes = new Uint8Array(end)
  for (const [index, part] of parts.entries()) bytes.set(part, offsets[index] ?? 0)
  const put = (offset: number, width: 1 | 2 | 4 | 8, value: number) => writeUint(bytes, offset, width, value)
  const pointer = is64 ? 8 : 4
  put(0, 4, 0x464c457f)
  put(4, 1, is64 ? 2 : 1)
  put(5, 1, 1)
  put(16, 2, sketch.type ?? 2)
  put(18, 2, sketch.machine ?? x86_64)
  put(is64 ? 32 : 28, pointer, headerBytes)
  put(is64 ? 54 : 42, 2, programBytes)
  put(is64 ? 56 : 44, 2, count)
  const program = (index: number, fields: { type: number; alignment: number; words: readonly number[] }) => {
    const base = headerBytes + index * programBytes
    put(base, 4, fields.type)
    for (const [place, value] of fields.words.entries()) put(base + pointer + place * pointer, pointer, value)
    put(base + (is64 ? 48 : 28), pointer, fields.alignment)
  }
  for (const [index, { address, contents, memoryBytes, fileOffset, fileBytes }] of segments.entries()) {
    const sizeBytes = fileBytes ?? contents?.length ?? 0
    const words = [fileOffset ?? offsets[index] ?? 0, 0, address, sizeBytes, memoryBytes ?? sizeBytes]
    program(index, { type: 1, alignment: 4096, words })
  }
  if (notes.length > 0) {
    const words = [offsets.at(-1) ?? 0, 0, 0, noteBytes.length, noteBytes.length]
    program(segments.length, { type: 4, alignment: noteAlignment, words })
  }
  return bytes
}

function encodeNotes(notes: readonly NoteSketch[], alignment: number): Uint8Array {
  const encoded = notes.map(({ owner = 'Xen', type = 18, contents }) => {
    const name = Buffer.from(`${owner}\0`)
    const contentOffset = alignUp(12 + name.length, alignment)
    const bytes = new Uint8Array(contentOffset + alignUp(contents.length, alignment))
    writeUint(bytes, 0, 4, name.length)
    writeUint(bytes, 4, 4, contents.length)
    writeUint(bytes, 8, 4, type)
    bytes.set(name, 12)
    bytes.set(contents, contentOffset)
    return bytes
  })
  return Buffer.concat(encoded)
}
