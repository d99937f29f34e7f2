import { concatenate } from '../util/bytes.ts'

/** Encoded AML (ACPI 6.5 §20.2). */
export type Aml = Uint8Array<ArrayBuffer>

function raw(...bytes: number[]): Aml {
  return Uint8Array.from(bytes)
}

function littleEndian(value: number | bigint, width: 1 | 2 | 4 | 8): Aml {
  const bytes = new Uint8Array(width)
  let rest = BigInt(value)
  for (let index = 0; index < width; index += 1) {
    bytes[index] = Number(rest & 0xffn)
    rest >>= 8n
  }
  return bytes
}

/** §20.2.4: one byte up to 63, else a lead byte with the number of those that follow. The length counts its own bytes. */
export function packageLength(contentBytes: number): Aml {
  if (contentBytes + 1 <= 0x3f) return raw(contentBytes + 1)
  for (const extra of [1, 2, 3]) {
    const total = contentBytes + 1 + extra
    if (total >= 1 << (4 + 8 * extra)) continue
    const bytes = [(extra << 6) | (total & 0xf)]
    for (let index = 0; index < extra; index += 1) bytes.push((total >> (4 + 8 * index)) & 0xff)
    return raw(...bytes)
  }
  throw new RangeError(`an AML package of ${contentBytes} bytes is too long`)
}

function sized(opcode: readonly number[], ...content: readonly Aml[]): Aml {
  const body = concatenate(content)
  return concatenate([raw(...opcode), packageLength(body.length), body])
}

/** §20.2.2: four characters a segment, padded with underscores; `\\` for the root, `^` for the parent, `.` between. */
export function namePath(path: string): Aml {
  const match = /^(\\?\^*)((?:[A-Z_][A-Z0-9_]{0,3})(?:\.[A-Z_][A-Z0-9_]{0,3})*)?$/.exec(path)
  if (match === null || path === '') throw new RangeError(`not an AML name: ${path}`)
  const [, prefix = '', names] = match
  const segments = names === undefined ? [] : names.split('.').map(segment => segment.padEnd(4, '_'))
  const lead = segments.length > 2 ? [0x2f, segments.length] : segments.length === 2 ? [0x2e] : []
  const text = Buffer.from(segments.join(''), 'latin1')
  return concatenate([Buffer.from(prefix, 'latin1'), raw(...lead), text, segments.length === 0 ? raw(0) : raw()])
}

export function integer(value: number | bigint): Aml {
  const wide = BigInt(value)
  if (wide === 0n) return raw(0x00)
  if (wide === 1n) return raw(0x01)
  if (wide === 0xffff_ffff_ffff_ffffn) return raw(0xff)
  if (wide <= 0xffn) return concatenate([raw(0x0a), littleEndian(wide, 1)])
  if (wide <= 0xffffn) return concatenate([raw(0x0b), littleEndian(wide, 2)])
  if (wide <= 0xffff_ffffn) return concatenate([raw(0x0c), littleEndian(wide, 4)])
  return concatenate([raw(0x0e), littleEndian(wide, 8)])
}

export function string(text: string): Aml {
  return concatenate([raw(0x0d), Buffer.from(text, 'latin1'), raw(0)])
}

export function buffer(bytes: Uint8Array): Aml {
  return sized([0x11], integer(bytes.length), Uint8Array.from(bytes))
}

/** The 32-bit form of an identifier like "PNP0A08" (§19.3.4, EISAID). */
export function eisaId(id: string): Aml {
  const match = /^([A-Z]{3})([0-9A-F]{4})$/.exec(id)
  if (match === null) throw new RangeError(`not an EISA id: ${id}`)
  const [, maker = '', product = ''] = match
  const letter = (index: number) => maker.charCodeAt(index) - 0x40
  const compressed = (letter(0) << 10) | (letter(1) << 5) | letter(2)
  const number = Number.parseInt(product, 16)
  return concatenate([raw(0x0c, compressed >> 8, compressed & 0xff, number >> 8, number & 0xff)])
}

export function name(path: string, value: Aml): Aml {
  return concatenate([raw(0x08), namePath(path), value])
}

export function scope(path: string, ...terms: readonly Aml[]): Aml {
  return sized([0x10], namePath(path), ...terms)
}

export function device(path: string, ...terms: readonly Aml[]): Aml {
  return sized([0x5b, 0x82], namePath(path), ...terms)
}

export function method(path: string, argumentCount: number, isSerialized: boolean, ...terms: readonly Aml[]): Aml {
  return sized([0x14], namePath(path), raw(argumentCount | (isSerialized ? 0x08 : 0)), ...terms)
}

export function packageOf(...elements: readonly Aml[]): Aml {
  return sized([0x12], raw(elements.length), ...elements)
}

export const local = (index: number): Aml => raw(0x60 + index)
export const argument = (index: number): Aml => raw(0x68 + index)
export const reference = (path: string): Aml => namePath(path)

export function call(path: string, ...parameters: readonly Aml[]): Aml {
  return concatenate([namePath(path), ...parameters])
}

export const store = (value: Aml, target: Aml): Aml => concatenate([raw(0x70), value, target])
export const and = (a: Aml, b: Aml, target: Aml = raw(0)): Aml => concatenate([raw(0x7b), a, b, target])
export const equal = (a: Aml, b: Aml): Aml => concatenate([raw(0x93), a, b])
export const returnValue = (value: Aml): Aml => concatenate([raw(0xa4), value])
export const notify = (path: string, value: number): Aml => concatenate([raw(0x86), namePath(path), integer(value)])
export const ifThen = (predicate: Aml, ...terms: readonly Aml[]): Aml => sized([0xa0], predicate, ...terms)

/** §20.2.5.2. Spaces: 0 memory, 1 ports. */
export function operationRegion(path: string, space: number, address: number | bigint, lengthBytes: number): Aml {
  return concatenate([raw(0x5b, 0x80), namePath(path), raw(space), integer(address), integer(lengthBytes)])
}

/** Byte-wide accesses, no lock, other bits written as zero. Fields lie one after the other, `bits` wide each. */
export function field(region: string, fields: readonly { readonly name: string; readonly bits: number }[]): Aml {
  const byteAccessWriteAsZeros = 0x41
  const units = fields.map(unit => concatenate([namePath(unit.name), packageLengthOf(unit.bits)]))
  return sized([0x5b, 0x81], namePath(region), raw(byteAccessWriteAsZeros), ...units)
}

/** In a field list the length encoding holds bits and does not count itself. */
function packageLengthOf(bits: number): Aml {
  if (bits <= 0x3f) return raw(bits)
  return raw(0x40 | (bits & 0xf), (bits >> 4) & 0xff)
}

// Resource descriptors (§6.4)

export function resources(...descriptors: readonly Aml[]): Aml {
  const endTag = raw(0x79, 0)
  return buffer(concatenate([...descriptors, endTag]))
}

/** §6.4.2.5. */
export function ioPorts(first: number, lengthBytes: number): Aml {
  return concatenate([raw(0x47, 0x01), littleEndian(first, 2), littleEndian(first, 2), raw(1, lengthBytes)])
}

/** §6.4.3.4. */
export function memory32Fixed(address: number, lengthBytes: number, isWritable: boolean): Aml {
  return concatenate([raw(0x86, 9, 0, isWritable ? 1 : 0), littleEndian(address, 4), littleEndian(lengthBytes, 4)])
}

/** §6.4.3.6: an extended interrupt that this device consumes, active high. */
export function interrupt(number: number, isEdge: boolean): Aml {
  const consumer = 1
  return concatenate([raw(0x89, 6, 0, consumer | (isEdge ? 2 : 0), 1), littleEndian(number, 4)])
}

const addressSpaceKinds = { memory: 0, io: 1, bus: 2 } as const
const fixedRange = 0x0c

/** §6.4.3.5: a range that the device decodes and hands on to its children. `last` is its last address. */
export function addressSpace(kind: 'memory' | 'io' | 'bus', width: 2 | 4 | 8, first: number, last: number): Aml {
  const tags = { 2: 0x88, 4: 0x87, 8: 0x8a } as const
  // Memory: read-write, not cacheable; ports: the whole range.
  const flags = kind === 'memory' ? 0x01 : kind === 'io' ? 0x03 : 0x00
  const body = concatenate([
    raw(addressSpaceKinds[kind], fixedRange, flags),
    ...[0, first, last, 0, last - first + 1].map(value => littleEndian(value, width)),
  ])
  return concatenate([raw(tags[width]), littleEndian(body.length, 2), body])
}
