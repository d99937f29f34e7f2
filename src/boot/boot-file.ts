import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import type { GuestMemory } from '../memory/guest-memory.ts'
import { type ErrorCode, reasonOf, TsvmmError } from '../util/errors.ts'

/** The flag that a file was given by. */
export type BootFlag = '--kernel' | '--firmware' | '--initramfs'

interface FileDescription {
  readonly path: string
  readonly sizeBytes: number
  readonly option: BootFlag
}

/** A kernel, firmware or initramfs on disk: headers are read here, contents go straight into guest memory. */
export class BootFile implements Disposable {
  readonly path: string
  readonly sizeBytes: number
  readonly option: BootFlag
  readonly #fd: number
  readonly #code: ErrorCode

  private constructor(fd: number, { path, sizeBytes, option }: FileDescription, code: ErrorCode) {
    this.path = path
    this.sizeBytes = sizeBytes
    this.option = option
    this.#fd = fd
    this.#code = code
  }

  /** Throws `code` naming flag and path where the file is missing, unreadable, empty or not a regular file. */
  static open(path: string, code: ErrorCode, option: BootFlag): BootFile {
    let fd: number | undefined
    try {
      // Without O_NONBLOCK a FIFO given by mistake would wait for its writer.
      fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
      const stat = fstatSync(fd)
      if (!stat.isFile()) throw new Error(stat.isDirectory() ? 'is a directory' : 'is not a regular file')
      if (stat.size === 0) throw new Error('is empty')
      return new BootFile(fd, { path, sizeBytes: stat.size, option }, code)
    } catch (cause) {
      if (fd !== undefined) closeSync(fd)
      throw new TsvmmError(code, { option, path, reason: reasonOf(cause) }, { cause })
    }
  }

  /** Up to `lengthBytes` from `offset`; shorter at the end of the file. Throws the code given to open(). */
  read(offset: number, lengthBytes: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(lengthBytes)
    return this.#attempt(() => bytes.subarray(0, readSync(this.#fd, bytes, 0, lengthBytes, offset)))
  }

  /** All of `lengthBytes` from `offset`, or undefined where the file ends before. */
  readWhole(offset: number, lengthBytes: number): Uint8Array<ArrayBuffer> | undefined {
    if (!this.holds(offset, lengthBytes)) return undefined
    const bytes = this.read(offset, lengthBytes)
    return bytes.length === lengthBytes ? bytes : undefined
  }

  /** Whether the file has that part. */
  holds(offset: number, lengthBytes: number): boolean {
    return Number.isSafeInteger(offset) && Number.isSafeInteger(lengthBytes) && offset + lengthBytes <= this.sizeBytes
  }

  /** Copies a part of the file into guest memory without a detour. Rejects with the code given to open(). */
  async load(memory: GuestMemory, guestAddress: number, offset: number, lengthBytes: number): Promise<void> {
    try {
      await memory.loadFile(guestAddress, this.#fd, offset, lengthBytes)
    } catch (cause) {
      throw this.#unreadable(cause)
    }
  }

  /** What is wrong with the file. */
  error(code: ErrorCode, reason: string, options?: ErrorOptions): TsvmmError {
    return new TsvmmError(code, { option: this.option, path: this.path, reason }, options)
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd)
  }

  #attempt<T>(action: () => T): T {
    try {
      return action()
    } catch (cause) {
      throw this.#unreadable(cause)
    }
  }

  #unreadable(cause: unknown): TsvmmError {
    return this.error(this.#code, `cannot be read: ${reasonOf(cause)}`, { cause })
  }
}
