import { TsvmmError } from '../util/errors.ts'
import type { AddressSpace, Bus, MappedWindow } from './bus.ts'
import type { AccessWidth, RegisterWindow, Span } from './registers.ts'

/** A bus in plain TypeScript for tests of devices: read and write are the guest's side and obey spans as vCPU threads do. */
export class SoftwareBus implements Bus {
  readonly #windows = new Set<Placed>()
  /** Nanoseconds of the clock that `clock` spans follow. */
  nowNs = 0
  /** Accesses that reached a device. */
  traps = 0

  map(space: AddressSpace, address: number, window: RegisterWindow): MappedWindow {
    const placed = new Placed(space, address, window, this.#windows)
    placed.move(address)
    this.#windows.add(placed)
    return placed
  }

  read(space: AddressSpace, address: number, width: AccessWidth): number {
    const placed = this.#find(space, address)
    if (placed === undefined) return ones(width)
    const offset = address - placed.address
    const span = spanAt(placed.window, offset, width)
    if (span === undefined) return ones(width)
    if (span.read === 'bytes') return load(placed.window.bytes, offset, width)
    if (span.read === 'clock' && span.clock !== undefined) {
      return Number(BigInt(Math.floor((this.nowNs * span.clock.hertz) / 1e9)) & ((1n << BigInt(span.clock.bits)) - 1n))
    }
    this.traps += 1
    return (placed.window.read(offset, width) & ones(width)) >>> 0
  }

  write(space: AddressSpace, address: number, width: AccessWidth, value: number): void {
    const placed = this.#find(space, address)
    if (placed === undefined) return
    const offset = address - placed.address
    const span = spanAt(placed.window, offset, width)
    if (span === undefined || span.write === 'ignore') return
    if (span.write === 'bytes') {
      store(placed.window.bytes, span, offset, width, value)
      return
    }
    if (span.write === 'trap') this.traps += 1
    placed.window.write(offset, width, value >>> 0)
  }

  #find(space: AddressSpace, address: number): Placed | undefined {
    for (const placed of this.#windows) {
      const isInside = address >= placed.address && address < placed.address + placed.window.sizeBytes
      if (placed.space === space && isInside) return placed
    }
    return undefined
  }
}

class Placed implements MappedWindow {
  readonly space: AddressSpace
  address: number
  readonly window: RegisterWindow
  readonly #all: Set<Placed>

  constructor(space: AddressSpace, address: number, window: RegisterWindow, all: Set<Placed>) {
    this.space = space
    this.address = address
    this.window = window
    this.#all = all
  }

  move(address: number): void {
    for (const other of this.#all) {
      if (other === this || other.space !== this.space) continue
      if (address < other.address + other.window.sizeBytes && other.address < address + this.window.sizeBytes) {
        const range = `${this.space} 0x${address.toString(16)}`
        throw new TsvmmError('ERR_BUS_OVERLAP', { name: this.window.name, range, other: other.window.name })
      }
    }
    this.address = address
  }

  updateSpans(): void {}

  unmap(): void {
    this.#all.delete(this)
  }
}

function ones(width: AccessWidth): number {
  return 2 ** (8 * width) - 1
}

/** The span that holds the whole access; accesses across spans are cut by the real bus and unused in tests. */
function spanAt(window: RegisterWindow, offset: number, width: number): Span | undefined {
  return window.spans.find(span => offset >= span.offset && offset + width <= span.offset + span.lengthBytes)
}

function load(bytes: Uint8Array, offset: number, width: number): number {
  let value = 0
  for (let index = width - 1; index >= 0; index -= 1) value = value * 256 + (bytes[offset + index] ?? 0)
  return value
}

function store(bytes: Uint8Array, span: Span, offset: number, width: number, value: number): void {
  for (let index = 0; index < width; index += 1) {
    const mask = span.mask?.[offset - span.offset + index] ?? 0xff
    const byte = (value >>> (8 * index)) & 0xff
    bytes[offset + index] = ((bytes[offset + index] ?? 0) & ~mask) | (byte & mask)
  }
}
