import type { Writable } from 'node:stream'
import { ByteQueue } from '../util/byte-queue.ts'
import { outputLimitBytes } from './output-limit.ts'

/**
 * Output to a stream. What its reader has not taken yet is kept up to a limit, the newest of it. Errors of the stream end
 * the output and nothing else; the stream is the caller's.
 */
export class StreamWriter {
  readonly #stream: Writable
  readonly #waiting = new ByteQueue()
  #isClosed = false
  readonly #onDrain = () => this.#flush()
  readonly #onError = () => this.close()

  constructor(stream: Writable) {
    this.#stream = stream
    stream.on('drain', this.#onDrain)
    stream.on('error', this.#onError)
  }

  write(bytes: Uint8Array): void {
    if (this.#isClosed) return
    this.#waiting.push(bytes)
    this.#flush()
    this.#waiting.keepNewest(outputLimitBytes)
  }

  /** Nothing more is written but what the stream has already. Its errors go on meaning nothing. */
  close(): void {
    this.#isClosed = true
    this.#waiting.clear()
    this.#stream.off('drain', this.#onDrain)
  }

  #flush(): void {
    while (!this.#isClosed && this.#stream.writable && !this.#stream.writableNeedDrain) {
      const bytes = this.#waiting.take()
      if (bytes === undefined) return
      this.#stream.write(bytes)
    }
  }
}
