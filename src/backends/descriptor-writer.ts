import { writeSync } from 'node:fs'
import { ByteQueue } from '../util/byte-queue.ts'
import { hasCode } from '../util/errors.ts'
import { outputLimitBytes } from './output-limit.ts'

const retryMs = 20

/**
 * Output to a descriptor that does not block (O_NONBLOCK). What its reader has not taken yet is kept up to a limit, the
 * newest of it. The descriptor is the caller's.
 */
export class DescriptorWriter {
  readonly #fd: number
  readonly #waiting = new ByteQueue()
  #retry: NodeJS.Timeout | undefined
  #isClosed = false

  constructor(fd: number) {
    this.#fd = fd
  }

  write(bytes: Uint8Array): void {
    if (this.#isClosed) return
    this.#waiting.push(bytes)
    if (this.#retry === undefined) this.#flush()
    this.#waiting.keepNewest(outputLimitBytes)
  }

  /** Tries once more to hand on what waits, and drops the rest. */
  close(): void {
    if (this.#isClosed) return
    clearTimeout(this.#retry)
    this.#flush()
    clearTimeout(this.#retry)
    this.#isClosed = true
    this.#waiting.clear()
  }

  #flush(): void {
    this.#retry = undefined
    while (true) {
      const bytes = this.#waiting.take()
      if (bytes === undefined) return
      const written = this.#attempt(bytes)
      if (written === bytes.length) continue
      this.#waiting.unshift(bytes.subarray(written))
      // Such descriptors can be polled only by what also reads them. Nobody waits for a console that is not read.
      this.#retry = setTimeout(() => this.#flush(), retryMs)
      this.#retry.unref()
      return
    }
  }

  /** How much was taken; all of it where it can never be: a closed pipe, a full disk. */
  #attempt(bytes: Uint8Array): number {
    try {
      return writeSync(this.#fd, bytes)
    } catch (error) {
      const isFull = hasCode(error, 'EAGAIN')
      return isFull ? 0 : bytes.length
    }
  }
}
