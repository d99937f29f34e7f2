import { TsvmmError } from '../util/errors.ts'
import type { AddressSpace, Bus, MappedWindow } from './bus.ts'
import type { AccessWidth, RegisterWindow, Span } from './registers.ts'

export interface SoftwareBusOptions {
  /** The clock that `clock` spans follow, in nanoseconds; one that stands still where absent. */
  readonly nowNs?: () => bigint
}

interface Piece {
  readonly position: number
  /** Where no window is, nothing. */
  readonly placed: Placed | undefined
  /** Where no span is, nothing. */
  readonly span: Span | undefined
  /** Within the window. */
  readonly offset: number
  readonly width: AccessWidth
}

/**
 * A bus in plain TypeScript for tests of devices. `read` and `write` are the guest's side: one vCPU, which obeys spans as the
 * vCPU threads do. What is posted waits until the next trap, until `deliverPosted`, or until the running JavaScript ends;
 * a window keeps its old spans until the device calls `updateSpans`.
 */
export class SoftwareBus implements Bus {
  /** Pieces of accesses, by how they were answered. */
  readonly counters = { bytes: 0, clock: 0, posted: 0, ignored: 0, trapped: 0, unmapped: 0 }
  readonly #windows = new Set<Placed>()
  readonly #nowNs: () => bigint
  #posted: { readonly window: RegisterWindow; readonly offset: number; width: AccessWidth; value: number }[] = []

  constructor({ nowNs = () => 0n }: SoftwareBusOptions = {}) {
    this.#nowNs = nowNs
  }

  map(space: AddressSpace, address: number, window: RegisterWindow): MappedWindow {
    const placed = new Placed({ space, window, all: this.#windows, nowNs: this.#nowNs })
    placed.move(address)
    this.#windows.add(placed)
    return placed
  }

  read(space: AddressSpace, address: number, width: AccessWidth): number {
    let value = 0
    for (const piece of this.#pieces(space, address, width)) {
      value += this.#readPiece(piece) * 2 ** (8 * piece.position)
    }
    return value
  }

  write(space: AddressSpace, address: number, width: AccessWidth, value: number): void {
    for (const piece of this.#pieces(space, address, width)) {
      this.#writePiece(piece, Math.floor(value / 2 ** (8 * piece.position)) % 2 ** (8 * piece.width))
    }
  }

  /** A 64-bit access, which reaches devices as two of 32 bits. */
  read64(space: AddressSpace, address: number): bigint {
    return BigInt(this.read(space, address, 4)) | (BigInt(this.read(space, address + 4, 4)) << 32n)
  }

  write64(space: AddressSpace, address: number, value: bigint): void {
    this.write(space, address, 4, Number(value & 0xffff_ffffn))
    this.write(space, address + 4, 4, Number(value >> 32n))
  }

  /** Hands what was posted to the devices now, in order. */
  deliverPosted(): void {
    while (true) {
      const write = this.#posted.shift()
      if (write === undefined) return
      write.window.write(write.offset, write.width, write.value)
    }
  }

  #readPiece({ placed, span, offset, width }: Piece): number {
    if (placed === undefined || span === undefined) {
      this.counters[placed === undefined ? 'unmapped' : 'ignored'] += 1
      return ones(width)
    }
    if (span.read === 'bytes') {
      this.counters.bytes += 1
      return load(placed.window.bytes, offset, width)
    }
    if (span.read === 'clock') {
      this.counters.clock += 1
      const shift = BigInt(8 * (offset - span.offset))
      return Number((placed.ticks(span) >> shift) & BigInt(ones(width)))
    }
    if (span.read === 'ecam') {
      const address = ecamAddress(placed.window.bytes, span, offset)
      return address === undefined ? ones(width) : this.read('mmio', address, width)
    }
    if (span.read === 'indexed') {
      this.counters.bytes += 1
      const entry = tableEntry(placed.window.bytes, span, width)
      return entry === undefined ? 0 : load(placed.window.bytes, entry, width)
    }
    this.counters.trapped += 1
    this.deliverPosted()
    return (placed.window.read(offset, width) & ones(width)) >>> 0
  }

  #writePiece(piece: Piece, value: number): void {
    const { placed, span, offset, width } = piece
    if (placed === undefined || span === undefined) {
      this.counters[placed === undefined ? 'unmapped' : 'ignored'] += 1
    } else if (span.write === 'bytes') {
      this.counters.bytes += 1
      store(placed.window.bytes, span, offset, width, value)
    } else if (span.write === 'ignore' || (span.write === 'change' && !changes(placed.window, span, piece, value))) {
      this.counters.ignored += 1
    } else if (span.write === 'post') {
      this.counters.posted += 1
      if (this.#posted.length === 0) queueMicrotask(() => this.deliverPosted())
      this.#posted.push({ window: placed.window, offset, width, value })
    } else if (span.write === 'ecam') {
      const address = ecamAddress(placed.window.bytes, span, offset)
      if (address !== undefined) this.write('mmio', address, width, value)
    } else {
      this.counters.trapped += 1
      this.deliverPosted()
      placed.window.write(offset, width, value)
    }
  }

  /** Cuts an access where a window or span begins or ends, into widths that devices know. */
  *#pieces(space: AddressSpace, address: number, length: number): Generator<Piece> {
    let position = 0
    while (position < length) {
      const at = address + position
      const placed = this.#find(space, at)
      const offset = placed === undefined ? 0 : at - placed.address
      const span = placed?.spans.find(each => offset >= each.offset && offset < each.offset + each.lengthBytes)
      const room = placed === undefined ? this.#gap(space, at) : placed.room(span, offset)
      const width = pieceWidth(Math.min(length - position, room))
      yield { position, placed, span, offset, width }
      position += width
    }
  }

  #find(space: AddressSpace, address: number): Placed | undefined {
    for (const placed of this.#windows) {
      const isInside = address >= placed.address && address < placed.address + placed.window.sizeBytes
      if (placed.space === space && isInside) return placed
    }
    return undefined
  }

  #gap(space: AddressSpace, address: number): number {
    const next = [...this.#windows].filter(each => each.space === space && each.address > address)
    return Math.min(...next.map(each => each.address - address))
  }
}

class Placed implements MappedWindow {
  readonly space: AddressSpace
  readonly window: RegisterWindow
  readonly #all: Set<Placed>
  readonly #nowNs: () => bigint
  #startNs: bigint
  #startTicks = 0n
  address = -1
  spans: readonly Span[]

  constructor(options: { space: AddressSpace; window: RegisterWindow; all: Set<Placed>; nowNs: () => bigint }) {
    this.space = options.space
    this.window = options.window
    this.#all = options.all
    this.#nowNs = options.nowNs
    this.#startNs = this.#nowNs()
    this.spans = checkedSpans(this.window)
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

  updateSpans(): void {
    this.spans = checkedSpans(this.window)
  }

  unmap(): void {
    this.#all.delete(this)
  }

  /** Bytes from `offset` to where `span` ends, or where there is none, to where the next one begins. */
  room(span: Span | undefined, offset: number): number {
    if (span !== undefined) return span.offset + span.lengthBytes - offset
    const next = this.spans.find(each => each.offset > offset)
    return (next?.offset ?? this.window.sizeBytes) - offset
  }

  clockTicks(): bigint {
    const span = this.spans.find(each => each.clock !== undefined)
    return span === undefined ? 0n : this.#ticks(span)
  }

  setClockTicks(ticks: bigint): void {
    this.#startNs = this.#nowNs()
    this.#startTicks = ticks
  }

  ticks(span: Span): bigint {
    return BigInt.asUintN(span.clock?.bits ?? 0, this.#ticks(span))
  }

  #ticks({ clock }: Span): bigint {
    if (clock === undefined) return 0n
    return this.#startTicks + ((this.#nowNs() - this.#startNs) * BigInt(clock.hertz)) / 1_000_000_000n
  }
}

/** The window's spans as they are now. Throws RangeError for what the vCPU threads would not take either. */
function checkedSpans({ name, sizeBytes, bytes, spans }: RegisterWindow): readonly Span[] {
  if (bytes.length !== sizeBytes) throw new RangeError(`${name}: ${bytes.length} bytes for a window of ${sizeBytes}`)
  let end = 0
  for (const { offset, lengthBytes, read, write, mask, clock, ecam, indexed } of spans) {
    if (lengthBytes <= 0 || offset < end || offset + lengthBytes > sizeBytes) {
      throw new RangeError(`${name}: the span at ${offset} is out of order or leaves the window`)
    }
    const maskBytes = read === 'indexed' ? 4 * (indexed?.entries ?? 0) : lengthBytes
    if (mask !== undefined && mask.length !== maskBytes) {
      throw new RangeError(`${name}: the span at ${offset} has a mask of another length`)
    }
    if (read === 'clock' && clock === undefined) throw new RangeError(`${name}: the span at ${offset} has no clock`)
    if ((read === 'ecam' || write === 'ecam') && (ecam === undefined || lengthBytes > 4)) {
      throw new RangeError(`${name}: the span at ${offset} has no ECAM or more than 4 bytes`)
    }
    if (read === 'indexed' && !isTable(indexed, lengthBytes, sizeBytes)) {
      throw new RangeError(`${name}: the span at ${offset} has no table or not 4 bytes`)
    }
    end = offset + lengthBytes
  }
  return spans.map(span => ({ ...span }))
}

function pieceWidth(limit: number): AccessWidth {
  if (limit >= 4) return 4
  return limit >= 2 ? 2 : 1
}

function ones(width: AccessWidth): number {
  return 2 ** (8 * width) - 1
}

/** Where an access to an ECAM span leads; the window's first register selects bus, device, function and register. */
function ecamAddress(bytes: Uint8Array, { offset: base, ecam }: Span, offset: number): number | undefined {
  const selected = load(bytes, 0, 4)
  const bus = (selected >>> 16) & 0xff
  if (ecam === undefined || selected < 0x8000_0000 || bus >= ecam.buses) return undefined
  return ecam.address + ((selected >>> 8) & 0xffff) * 4096 + (selected & 0xfc) + (offset - base)
}

function isTable(indexed: Span['indexed'], lengthBytes: number, sizeBytes: number): boolean {
  if (indexed === undefined || lengthBytes !== 4) return false
  const { tableOffset, entries } = indexed
  return tableOffset % 4 === 0 && entries > 0 && tableOffset + 4 * entries <= sizeBytes
}

/** Where in the shared bytes the word is that the window's first byte numbers. */
function tableEntry(bytes: Uint8Array, { indexed }: Span, width: AccessWidth): number | undefined {
  const index = bytes[0] ?? 0
  if (indexed === undefined || width !== 4 || index >= indexed.entries) return undefined
  return indexed.tableOffset + 4 * index
}

/** Whether a write changes what a read answers, of the bits that can be. */
function changes({ bytes }: RegisterWindow, span: Span, { offset, width }: Piece, value: number): boolean {
  const place = span.read === 'indexed' ? tableEntry(bytes, span, width) : offset
  if (place === undefined) return false
  const maskOffset = place - (span.read === 'indexed' ? (span.indexed?.tableOffset ?? 0) : span.offset)
  for (let index = 0; index < width; index += 1) {
    const mask = span.mask?.[maskOffset + index] ?? 0xff
    if ((((bytes[place + index] ?? 0) ^ (value >>> (8 * index))) & mask) !== 0) return true
  }
  return false
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
