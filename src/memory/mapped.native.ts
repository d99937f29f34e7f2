import { addon, type NativeGuestMemory, type NativeMapping } from '../native/addon.ts'
import { hasCode, reasonOf, TsvmmError } from '../util/errors.ts'
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
  /** Another process can have the same memory. */
  readonly isShared: boolean
}

/** Guest memory in mappings of this process. */
export class MappedMemory implements GuestMemory {
  readonly native: NativeGuestMemory = new (addon().GuestMemory)()
  readonly #ranges: MappedRange[] = []

  get ranges(): readonly MappedRange[] {
    return this.#ranges
  }

  /** Of all ranges, where another process can have the same memory by them. */
  get sharedDescriptors(): readonly number[] | undefined {
    return this.#ranges.every(({ isShared }) => isShared) ? this.#ranges.map(({ mapping }) => mapping.fd) : undefined
  }

  /**
   * Throws ERR_MEMORY where the host has not that much, or the guest has something else there. `make` makes a mapping that
   * does not begin as zeroes.
   */
  map(
    guestAddress: number,
    sizeBytes: number,
    options: MappedRamOptions,
    make: () => NativeMapping | undefined = () => undefined,
  ): MappedRange {
    const backing = options.shared || options.hugePageBytes > 0 ? 'memfd' : 'anonymous'
    const pages = options.hugePageBytes > 0 ? ' of huge pages' : ''
    return attempt(`cannot map ${sizeBytes} bytes${pages} at ${hex(guestAddress)}`, () => {
      const mapping = make() ?? new (addon().Mapping)({ ...options, sizeBytes, backing })
      try {
        this.native.add(guestAddress, mapping, 0, sizeBytes)
      } catch (error) {
        mapping.close()
        throw error
      }
      const range = { guestAddress, sizeBytes, mapping, isShared: options.shared && mapping.fd >= 0 }
      this.#ranges.push(range)
      this.#ranges.sort((a, b) => a.guestAddress - b.guestAddress)
      return range
    })
  }

  read(guestAddress: number, lengthBytes: number): Uint8Array<ArrayBuffer> {
    return attempt(naming('read', guestAddress, lengthBytes), () => this.native.read(guestAddress, lengthBytes))
  }

  write(guestAddress: number, bytes: Uint8Array): void {
    attempt(naming('write', guestAddress, bytes.length), () => this.native.write(guestAddress, bytes))
  }

  fill(guestAddress: number, value: number, lengthBytes: number): void {
    attempt(naming('fill', guestAddress, lengthBytes), () => this.native.fill(guestAddress, value, lengthBytes))
  }

  async loadFile(guestAddress: number, fd: number, fileOffset: number, lengthBytes: number): Promise<void> {
    try {
      await this.native.loadFile(guestAddress, fd, fileOffset, lengthBytes)
    } catch (cause) {
      throw memoryError(naming('load', guestAddress, lengthBytes), cause)
    }
  }

  /** Gives all RAM back to the host: it reads as zeroes. */
  clear(): void {
    attempt('cannot give memory back', () => {
      for (const { guestAddress, sizeBytes, mapping } of this.#ranges) {
        mapping.discard()
        this.native.markDirty(guestAddress, sizeBytes)
      }
    })
  }

  /** Idempotent. What a virtual machine or an engine still uses stays mapped until they let go. */
  close(): void {
    this.native.close()
    for (const { mapping } of this.#ranges) mapping.close()
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`
}

function naming(verb: string, guestAddress: number, lengthBytes: number): string {
  return `cannot ${verb} ${lengthBytes} bytes at ${hex(guestAddress)}`
}

function attempt<T>(what: string, action: () => T): T {
  try {
    return action()
  } catch (cause) {
    throw memoryError(what, cause)
  }
}

function memoryError(what: string, cause: unknown): TsvmmError {
  const isElsewhere = hasCode(cause, 'EFAULT')
  const reason = `${what}: ${isElsewhere ? 'not all of it is RAM' : reasonOf(cause)}`
  return new TsvmmError('ERR_MEMORY', { reason }, { cause })
}
