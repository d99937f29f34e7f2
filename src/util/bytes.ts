/** A field of a packed little-endian structure. */
export interface Field {
  readonly offset: number
  readonly width: 1 | 2 | 4 | 8
}

type Fields = Readonly<Record<string, Field>>
type Values = Readonly<Record<string, number | bigint>>

/** A structure laid out by another program or a specification: names, offsets and widths in a short table. */
export class Layout {
  readonly sizeBytes: number
  readonly #fields: Fields

  constructor(sizeBytes: number, fields: Fields) {
    this.sizeBytes = sizeBytes
    this.#fields = fields
  }

  /** A new structure; what is not given is zero. */
  encode(values: Values): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.sizeBytes)
    this.write(bytes, values)
    return bytes
  }

  write(bytes: Uint8Array, values: Values, base = 0): void {
    for (const [name, value] of Object.entries(values)) {
      const { offset, width } = this.#field(name)
      writeUint(bytes, base + offset, width, value)
    }
  }

  read(bytes: Uint8Array, name: string, base = 0): bigint {
    const { offset, width } = this.#field(name)
    return readUint(bytes, base + offset, width)
  }

  /** As read(), for fields of at most 32 bits or values known to be exact as numbers. */
  readNumber(bytes: Uint8Array, name: string, base = 0): number {
    return Number(this.read(bytes, name, base))
  }

  #field(name: string): Field {
    const field = this.#fields[name]
    if (field === undefined) throw new RangeError(`no field ${name}`)
    return field
  }
}

/** Fields of one width that follow each other. */
export function consecutive(names: readonly string[], width: Field['width'], offset = 0): Record<string, Field> {
  return Object.fromEntries(names.map((name, index) => [name, { offset: offset + index * width, width }]))
}

export function writeUint(bytes: Uint8Array, offset: number, width: Field['width'], value: number | bigint): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (width === 8) view.setBigUint64(offset, BigInt(value), true)
  else if (width === 4) view.setUint32(offset, Number(value), true)
  else if (width === 2) view.setUint16(offset, Number(value), true)
  else view.setUint8(offset, Number(value))
}

export function readUint(bytes: Uint8Array, offset: number, width: Field['width']): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (width === 8) return view.getBigUint64(offset, true)
  if (width === 4) return BigInt(view.getUint32(offset, true))
  if (width === 2) return BigInt(view.getUint16(offset, true))
  return BigInt(view.getUint8(offset))
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

export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment
}

export function alignDown(value: number, alignment: number): number {
  return Math.floor(value / alignment) * alignment
}
