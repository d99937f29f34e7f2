import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import type { ConfigSpace } from '../pci/config-space.ts'
import { readUint, writeUint } from '../util/bytes.ts'

const field = { bar: 4, offset: 8, length: 12, data: 16 } as const

interface Piece {
  readonly span: Span | undefined
  /** Within the BAR. */
  readonly offset: number
  readonly width: AccessWidth
  /** Within the access. */
  readonly position: number
}

/**
 * A window through configuration space into the BAR (virtio 1.2 §4.1.4.9), for firmware that cannot map it: bar, offset and
 * length are set first, then the data register reads or writes there.
 */
export class PciConfigAccess {
  /** Reads of it reach the device. */
  readonly dataRegister: { readonly offset: number; readonly lengthBytes: number }
  readonly #config: ConfigSpace
  readonly #base: number
  readonly #window: RegisterWindow

  constructor(config: ConfigSpace, base: number, window: RegisterWindow) {
    this.#config = config
    this.#base = base
    this.#window = window
    this.dataRegister = { offset: base + field.data, lengthBytes: 4 }
    config.allow(base + field.bar, 1, 0xff)
    for (const register of [field.offset, field.length]) config.allow(base + register, 4, 0xffff_ffff)
  }

  holds(offset: number): boolean {
    return offset >= this.dataRegister.offset && offset < this.dataRegister.offset + 4
  }

  /** The low bytes, as many as `length` says. */
  read(): number {
    let value = 0
    for (const { span, offset, width, position } of this.#pieces()) {
      let piece = 0xffff_ffff
      if (span?.read === 'bytes') piece = Number(readUint(this.#window.bytes, offset, width))
      else if (span?.read === 'trap') piece = this.#window.read(offset, width)
      value += (piece % 2 ** (8 * width)) * 2 ** (8 * position)
    }
    return value
  }

  write(value: number): void {
    for (const { span, offset, width, position } of this.#pieces()) {
      const piece = Math.floor(value / 2 ** (8 * position)) % 2 ** (8 * width)
      if (span?.write === 'bytes') writeUint(this.#window.bytes, offset, width, piece)
      else if (span?.write === 'trap' || span?.write === 'change') this.#window.write(offset, width, piece)
    }
  }

  /** The access in parts that lie in one span, or in none, each. */
  *#pieces(): Generator<Piece> {
    const place = this.#place()
    if (place === undefined) return
    const spanAt = (offset: number) =>
      this.#window.spans.find(span => offset >= span.offset && offset < span.offset + span.lengthBytes)
    let position = 0
    while (position < place.width) {
      const offset = place.offset + position
      const span = spanAt(offset)
      const left = place.width - position
      const room = span === undefined ? 1 : span.offset + span.lengthBytes - offset
      const width = left >= 4 && room >= 4 ? 4 : left >= 2 && room >= 2 ? 2 : 1
      yield { span, offset, width, position }
      position += width
    }
  }

  /** Only what §4.1.4.9.1 allows: BAR 0, a length of 1, 2 or 4, aligned to it and within the BAR. */
  #place(): { offset: number; width: AccessWidth } | undefined {
    const get = (register: number, width: AccessWidth) => this.#config.get(this.#base + register, width)
    const offset = get(field.offset, 4)
    const length = get(field.length, 4)
    if (get(field.bar, 1) !== 0 || (length !== 1 && length !== 2 && length !== 4)) return undefined
    if (offset % length !== 0 || offset + length > this.#window.sizeBytes) return undefined
    return { offset, width: length }
  }
}
