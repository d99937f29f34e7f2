import { concatenate, writeUint } from '../../util/bytes.ts'
import { mixedEndianUuid } from '../../util/uuid.ts'

/** Encoded AML: terms, objects or data (ACPI 6.5 §20.2). Immutable by convention; may be shared and repeated. */
export type Aml = Uint8Array<ArrayBuffer>

/** Bytes as they are. */
export function raw(...bytes: number[]): Aml {
  return Uint8Array.from(bytes)
}

/** `value` in `width` little-endian bytes. Throws RangeError where it does not fit. */
export function unsigned(value: number | bigint, width: 1 | 2 | 4 | 8): Aml {
  const wide = BigInt(value)
  if (wide < 0n || wide >= 1n << BigInt(8 * width)) {
    throw new RangeError(`${value} does not fit into ${width} bytes of AML`)
  }
  const bytes = new Uint8Array(width)
  writeUint(bytes, 0, width, wide)
  return bytes
}

const shortLengthMaximum = 0x3f
const lengthBits = (extraBytes: number) => 4 + 8 * extraBytes

/** A length in a lead byte, which says how many bytes follow it, and those (§20.2.4). */
function multiByteLength(length: number, extraBytes: number): Aml {
  const bytes = [(extraBytes << 6) | (length & 0xf)]
  for (let index = 0; index < extraBytes; index += 1) bytes.push((length >> lengthBits(index)) & 0xff)
  return raw(...bytes)
}

/** PkgLength of a package: counts its own bytes as well as `contentBytes`. Throws RangeError from 256 MiB on. */
export function packageLength(contentBytes: number): Aml {
  if (contentBytes + 1 <= shortLengthMaximum) return raw(contentBytes + 1)
  for (const extraBytes of [1, 2, 3]) {
    const total = contentBytes + 1 + extraBytes
    if (total < 2 ** lengthBits(extraBytes)) return multiByteLength(total, extraBytes)
  }
  throw new RangeError(`an AML package of ${contentBytes} bytes is too long`)
}

/** PkgLength of a field element: bits, and it does not count itself (§20.2.5.2). Throws RangeError from 2^28 on. */
export function fieldLength(bits: number): Aml {
  if (bits <= shortLengthMaximum) return raw(bits)
  for (const extraBytes of [1, 2, 3]) if (bits < 2 ** lengthBits(extraBytes)) return multiByteLength(bits, extraBytes)
  throw new RangeError(`an AML field of ${bits} bits is too long`)
}

/** An opcode, the length of what follows, and that. */
export function sized(opcode: readonly number[], ...content: readonly Aml[]): Aml {
  const body = concatenate(content)
  return concatenate([raw(...opcode), packageLength(body.length), body])
}

const maximumSegments = 0xff
const namePattern = /^(\\?\^*)((?:[A-Z_][A-Z0-9_]{0,3})(?:\.[A-Z_][A-Z0-9_]{0,3})*)?$/

/**
 * A NameString (§20.2.2) from ASL's spelling: segments of one to four capitals, digits and underscores between dots, `\`
 * for the root, `^` for a parent. Throws RangeError for all else.
 */
export function namePath(path: string): Aml {
  const match = namePattern.exec(path)
  if (match === null || path === '') throw new RangeError(`not an AML name: ${JSON.stringify(path)}`)
  const [, prefix = '', names] = match
  const segments = names === undefined ? [] : names.split('.').map(segment => segment.padEnd(4, '_'))
  if (segments.length > maximumSegments) throw new RangeError(`an AML name of ${segments.length} segments is too long`)
  const nullName = segments.length === 0 ? raw(0) : raw()
  const lead = segments.length > 2 ? [0x2f, segments.length] : segments.length === 2 ? [0x2e] : []
  return concatenate([Buffer.from(prefix, 'latin1'), raw(...lead), Buffer.from(segments.join(''), 'latin1'), nullName])
}

/** One segment of a name, for the places where no path may stand (§20.2.2, NameSeg). */
export function nameSegment(name: string): Aml {
  if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(name)) throw new RangeError(`not an AML name segment: ${JSON.stringify(name)}`)
  return namePath(name)
}

/** An unsigned integer of up to 64 bits in its shortest form (§20.2.3). Throws RangeError outside. */
export function integer(value: number | bigint): Aml {
  const wide = BigInt(value)
  if (wide === 0n) return raw(0x00)
  if (wide === 1n) return raw(0x01)
  // OnesOp, which is as wide as the integers of the table: 64 bits from revision 2 on.
  if (wide === 0xffff_ffff_ffff_ffffn) return raw(0xff)
  if (wide <= 0xffn) return concatenate([raw(0x0a), unsigned(wide, 1)])
  if (wide <= 0xffffn) return concatenate([raw(0x0b), unsigned(wide, 2)])
  if (wide <= 0xffff_ffffn) return concatenate([raw(0x0c), unsigned(wide, 4)])
  return concatenate([raw(0x0e), unsigned(wide, 8)])
}

/** Characters 1 to 127 (§20.2.3); throws RangeError for others. */
export function string(text: string): Aml {
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0
    if (code === 0 || code > 0x7f) throw new RangeError(`not an AML string: ${JSON.stringify(text)}`)
  }
  return concatenate([raw(0x0d), Buffer.from(text, 'latin1'), raw(0)])
}

export function buffer(bytes: Uint8Array): Aml {
  return sized([0x11], integer(bytes.length), Uint8Array.from(bytes))
}

/** The 32-bit integer for an identifier like `PNP0A08` (§19.3.4, EISAID). Throws RangeError where it is not one. */
export function eisaId(id: string): Aml {
  const match = /^([A-Z]{3})([0-9A-F]{4})$/.exec(id)
  if (match === null) throw new RangeError(`not an EISA id: ${JSON.stringify(id)}`)
  const [, maker = '', product = ''] = match
  const letter = (index: number) => maker.charCodeAt(index) - 0x40
  const compressed = (letter(0) << 10) | (letter(1) << 5) | letter(2)
  const number = Number.parseInt(product, 16)
  // In the integer's bytes the identifier is big-endian.
  return raw(0x0c, compressed >> 8, compressed & 0xff, number >> 8, number & 0xff)
}

/** A UUID as a buffer, as ASL's ToUUID makes it (§19.6.142). Throws RangeError where it is not one. */
export function uuid(text: string): Aml {
  const bytes = mixedEndianUuid(text)
  if (bytes === undefined) throw new RangeError(`not a UUID: ${JSON.stringify(text)}`)
  return buffer(bytes)
}
