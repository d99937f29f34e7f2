import type { AccessWidth, RegisterWindow } from '../bus/registers.ts'
import type { ConfigSpace } from '../pci/config-space.ts'
import { readUint, writeUint } from '../util/bytes.ts'

const field = { bar: 4, offset: 8, length: 12, data: 16 } as const

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

  read(_offset: number, _width: AccessWidth): number {
    const place = this.#place()
    if (place === undefined) return 0
    const span = this.#window.spans.find(
      each => place.offset >= each.offset && place.offset < each.offset + each.lengthBytes,
    )
    if (span?.read === 'bytes') return Number(readUint(this.#window.bytes, place.offset, place.width))
    return this.#window.read(place.offset, place.width)
  }

  write(_offset: number, _width: AccessWidth, value: number): void {
    const place = this.#place()
    if (place === undefined) return
    const span = this.#window.spans.find(
      each => place.offset >= each.offset && place.offset < each.offset + each.lengthBytes,
    )
    if (span?.write === 'bytes') writeUint(this.#window.bytes, place.offset, place.width, value)
    else if (span?.write === 'trap') this.#window.write(place.offset, place.width, value)
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
