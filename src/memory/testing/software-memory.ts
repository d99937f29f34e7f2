import { readSync } from 'node:fs'
import { TsvmmError } from '../../util/errors.ts'
import type { GuestMemory } from '../guest-memory.ts'

interface Range {
  readonly guestAddress: number
  readonly sizeBytes: number
  readonly bytes: Uint8Array<ArrayBuffer>
}

const pageBytes = 4096

/** Guest memory in plain TypeScript for tests of what reads and writes it; it knows which of its pages were written. */
export class SoftwareMemory implements GuestMemory {
  readonly #ranges: Range[] = []
  /** Addresses of pages; undefined while nobody asks. */
  #dirty: Set<number> | undefined

  constructor(...sizes: readonly { readonly guestAddress: number; readonly sizeBytes: number }[]) {
    for (const { guestAddress, sizeBytes } of sizes) this.add(guestAddress, sizeBytes)
  }

  get ranges(): readonly Range[] {
    return this.#ranges
  }

  add(guestAddress: number, sizeBytes: number): void {
    this.#ranges.push({ guestAddress, sizeBytes, bytes: new Uint8Array(sizeBytes) })
    this.#ranges.sort((a, b) => a.guestAddress - b.guestAddress)
    this.#mark(guestAddress, sizeBytes)
  }

  clear(): void {
    for (const { guestAddress, sizeBytes } of this.#ranges) this.fill(guestAddress, 0, sizeBytes)
  }

  get isTrackingDirtyPages(): boolean {
    return this.#dirty !== undefined
  }

  trackDirtyPages(): void {
    this.#dirty = new Set()
  }

  stopTrackingDirtyPages(): void {
    this.#dirty = undefined
  }

  /** In the form of a virtual machine's dirty pages. */
  takeDirtyPages(): Uint8Array<ArrayBuffer> {
    const taken = this.#dirty ?? new Set()
    const addresses = this.#ranges.flatMap(({ guestAddress, sizeBytes }) =>
      Array.from({ length: sizeBytes / pageBytes }, (_, page) => guestAddress + page * pageBytes),
    )
    const bits = new Uint8Array(Math.ceil(addresses.length / 64) * 8)
    for (const [page, address] of addresses.entries()) {
      if (taken.has(address)) bits[page >> 3] = (bits[page >> 3] ?? 0) | (1 << (page & 7))
    }
    this.#dirty?.clear()
    return bits
  }

  read(guestAddress: number, lengthBytes: number): Uint8Array<ArrayBuffer> {
    const copy = new Uint8Array(lengthBytes)
    let position = 0
    for (const piece of this.#pieces(guestAddress, lengthBytes)) {
      copy.set(piece, position)
      position += piece.length
    }
    return copy
  }

  write(guestAddress: number, bytes: Uint8Array): void {
    let position = 0
    for (const piece of this.#pieces(guestAddress, bytes.length)) {
      piece.set(bytes.subarray(position, position + piece.length))
      position += piece.length
    }
    this.#mark(guestAddress, bytes.length)
  }

  fill(guestAddress: number, value: number, lengthBytes: number): void {
    for (const piece of this.#pieces(guestAddress, lengthBytes)) piece.fill(value)
    this.#mark(guestAddress, lengthBytes)
  }

  async loadFile(guestAddress: number, fd: number, fileOffset: number, lengthBytes: number): Promise<void> {
    const bytes = new Uint8Array(lengthBytes)
    if (readSync(fd, bytes, 0, lengthBytes, fileOffset) < lengthBytes) {
      throw new TsvmmError('ERR_MEMORY', { reason: 'the file ends early' })
    }
    this.write(guestAddress, bytes)
  }

  #mark(guestAddress: number, lengthBytes: number): void {
    const end = guestAddress + lengthBytes
    for (let page = guestAddress - (guestAddress % pageBytes); page < end; page += pageBytes) this.#dirty?.add(page)
  }

  #pieces(guestAddress: number, lengthBytes: number): Uint8Array[] {
    const pieces: Uint8Array[] = []
    const end = guestAddress + lengthBytes
    let address = guestAddress
    for (const range of this.#ranges) {
      const from = address - range.guestAddress
      if (address >= end || from < 0 || from >= range.sizeBytes) continue
      const piece = range.bytes.subarray(from, Math.min(range.sizeBytes, end - range.guestAddress))
      pieces.push(piece)
      address += piece.length
    }
    if (address < end) throw new TsvmmError('ERR_MEMORY', { reason: `0x${address.toString(16)} is not RAM` })
    return pieces
  }
}
