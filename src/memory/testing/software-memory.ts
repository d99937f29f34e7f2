import { readSync } from 'node:fs'
import { TsvmmError } from '../../util/errors.ts'
import type { GuestMemory } from '../guest-memory.ts'

interface Range {
  readonly guestAddress: number
  readonly sizeBytes: number
  readonly bytes: Uint8Array<ArrayBuffer>
}

/** Guest memory in plain TypeScript for tests of what reads and writes it. */
export class SoftwareMemory implements GuestMemory {
  readonly #ranges: Range[] = []

  constructor(...sizes: readonly { readonly guestAddress: number; readonly sizeBytes: number }[]) {
    for (const { guestAddress, sizeBytes } of sizes) this.add(guestAddress, sizeBytes)
  }

  get ranges(): readonly Range[] {
    return this.#ranges
  }

  add(guestAddress: number, sizeBytes: number): void {
    this.#ranges.push({ guestAddress, sizeBytes, bytes: new Uint8Array(sizeBytes) })
    this.#ranges.sort((a, b) => a.guestAddress - b.guestAddress)
  }

  clear(): void {
    for (const { bytes } of this.#ranges) bytes.fill(0)
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
  }

  fill(guestAddress: number, value: number, lengthBytes: number): void {
    for (const piece of this.#pieces(guestAddress, lengthBytes)) piece.fill(value)
  }

  async loadFile(guestAddress: number, fd: number, fileOffset: number, lengthBytes: number): Promise<void> {
    const bytes = new Uint8Array(lengthBytes)
    if (readSync(fd, bytes, 0, lengthBytes, fileOffset) < lengthBytes) {
      throw new TsvmmError('ERR_MEMORY', { reason: 'the file ends early' })
    }
    this.write(guestAddress, bytes)
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
