/** A field of a packed little-endian structure. */
export interface Field {
  readonly offset: number
  readonly width: 1 | 2 | 4 | 8
}

/**
 * A structure laid out by another program or a specification: names, offsets and widths in a short table. Values are
 * unsigned; what is written is taken modulo the field's width, as a store instruction would.
 */
export class Layout<Name extends string = string> {
  readonly sizeBytes: number
  readonly #fields: Readonly<Record<Name, Field>>

  /** Throws RangeError where a field lies outside. */
  constructor(sizeBytes: number, fields: Readonly<Record<Name, Field>>) {
    for (const name in fields) {
      const { offset, width } = fields[name]
      if (offset < 0 || offset + width > sizeBytes) throw new RangeError(`field ${name} lies outside`)
    }
    this.sizeBytes = sizeBytes
    this.#fields = fields
  }

  /** A new structure; what is not given is zero. */
  encode(values: Readonly<Partial<Record<Name, number | bigint>>>): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.sizeBytes)
    this.write(bytes, values)
    return bytes
  }

  /** Changes the given fields of the structure that begins at `base`. Throws RangeError beyond the end of `bytes`. */
  write(bytes: Uint8Array, values: Readonly<Partial<Record<Name, number | bigint>>>, base = 0): void {
    for (const name in this.#fields) {
      const value = values[name]
      if (value === undefined) continue
      const { offset, width } = this.#fields[name]
      writeUint(bytes, base + offset, width, value)
    }
  }

  /** Throws RangeError beyond the end of `bytes`. */
  read(bytes: Uint8Array, name: Name, base = 0): bigint {
    const { offset, width } = this.#fields[name]
    return readUint(bytes, base + offset, width)
  }

  /** As read(); of a 64-bit field beyond 2^53 the nearest number. */
  readNumber(bytes: Uint8Array, name: Name, base = 0): number {
    const { offset, width } = this.#fields[name]
    return readNumber(bytes, base + offset, width)
  }
}

/** Fields of one width that follow each other. */
export function consecutive<const Name extends string>(
  names: readonly Name[],
  width: Field['width'],
  offset?: number,
): Record<Name, Field>
export function consecutive(names: readonly string[], width: Field['width'], offset = 0): Record<string, Field> {
  return Object.fromEntries(names.map((name, index) => [name, { offset: offset + index * width, width }]))
}

export function writeUint(bytes: Uint8Array, offset: number, width: Field['width'], value: number | bigint): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (width === 8) {
    view.setBigUint64(offset, BigInt(value), true)
    return
  }
  const low = typeof value === 'bigint' ? Number(BigInt.asUintN(32, value)) : value
  if (width === 4) view.setUint32(offset, low, true)
  else if (width === 2) view.setUint16(offset, low, true)
  else view.setUint8(offset, low)
}

export function readUint(bytes: Uint8Array, offset: number, width: Field['width']): bigint {
  if (width < 8) return BigInt(readNumber(bytes, offset, width))
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(offset, true)
}

/** As readUint(), without the detour over a bigint; of 64 bits beyond 2^53 the nearest number. */
export function readNumber(bytes: Uint8Array, offset: number, width: Field['width']): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (width === 8) return view.getUint32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true)
  if (width === 4) return view.getUint32(offset, true)
  if (width === 2) return view.getUint16(offset, true)
  return view.getUint8(offset)
}

export function concatenate(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let offset = 0
  for (const part of parts) {
    bytes.set(part, offset)
    offset += part.length
  }
  return bytes
}

/** The next multiple of `alignment` at or above `value`; both may be beyond 32 bits. */
export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment
}

/** The next multiple of `alignment` at or below `value`. */
export function alignDown(value: number, alignment: number): number {
  return Math.floor(value / alignment) * alignment
}
