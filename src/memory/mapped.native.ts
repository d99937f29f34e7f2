import { addon, type NativeGuestMemory, type NativeMapping } from '../native/addon.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import type { GuestMemory } from './guest-memory.ts'

/** How host memory backs a run of guest RAM. */
export interface MappedRamOptions {
  readonly shared: boolean
  readonly hugePageBytes: number
  readonly mergeable: boolean
  readonly prefault: boolean
  readonly thp: boolean
  readonly reserve: boolean
}

export interface MappedRange {
  readonly guestAddress: number
  readonly sizeBytes: number
  readonly mapping: NativeMapping
}

/** Guest memory in mappings of this process. */
export class MappedMemory implements GuestMemory {
  readonly native: NativeGuestMemory = new (addon().GuestMemory)()
  readonly #ranges: MappedRange[] = []

  get ranges(): readonly MappedRange[] {
    return this.#ranges
  }

  map(guestAddress: number, sizeBytes: number, options: MappedRamOptions): MappedRange {
    const backing = options.shared || options.hugePageBytes > 0 ? 'memfd' : 'anonymous'
    return attempt(() => {
      const mapping = new (addon().Mapping)({ ...options, sizeBytes, backing })
      this.native.add(guestAddress, mapping, 0, sizeBytes)
      const range = { guestAddress, sizeBytes, mapping }
      this.#ranges.push(range)
      this.#ranges.sort((a, b) => a.guestAddress - b.guestAddress)
      return range
    })
  }

  read(guestAddress: number, lengthBytes: number): Uint8Array<ArrayBuffer> {
    return attempt(() => this.native.read(guestAddress, lengthBytes))
  }

  write(guestAddress: number, bytes: Uint8Array): void {
    attempt(() => this.native.write(guestAddress, bytes))
  }

  fill(guestAddress: number, value: number, lengthBytes: number): void {
    attempt(() => this.native.fill(guestAddress, value, lengthBytes))
  }

  loadFile(guestAddress: number, fd: number, fileOffset: number, lengthBytes: number): void {
    attempt(() => this.native.loadFile(guestAddress, fd, fileOffset, lengthBytes))
  }

  /** Gives all RAM back to the host: it reads as zeroes. */
  clear(): void {
    for (const { mapping } of this.#ranges) mapping.discard()
  }

  close(): void {
    this.native.close()
    for (const { mapping } of this.#ranges) mapping.close()
  }
}

function attempt<T>(action: () => T): T {
  try {
    return action()
  } catch (cause) {
    throw new TsvmmError('ERR_MEMORY', { reason: reasonOf(cause) }, { cause })
  }
}
