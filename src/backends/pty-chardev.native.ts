import { closeSync, constants, openSync } from 'node:fs'
import { ReadStream } from 'node:tty'
import { addon } from '../native/addon.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import type { Chardev } from './chardev.ts'
import { DescriptorWriter } from './descriptor-writer.ts'

/**
 * A pseudo terminal, in raw mode, that clients open by `path`. Output that no client has read yet is there when one
 * comes: the oldest few KiB, which the kernel keeps, and the newest MiB.
 */
export class PtyChardev implements Chardev {
  readonly path: string
  readonly #master: ReadStream
  /** Held open, so that the master does not fail while no client is there. */
  readonly #otherEnd: number
  readonly #writer: DescriptorWriter
  #listener: (bytes: Uint8Array) => void = () => {}
  #isReading = false
  #isClosed = false

  private constructor(masterFd: number, otherEnd: number, path: string) {
    this.path = path
    this.#otherEnd = otherEnd
    this.#writer = new DescriptorWriter(masterFd)
    this.#master = new ReadStream(masterFd)
    this.#master.on('error', () => {})
  }

  /** Throws ERR_CHARDEV naming `option`. */
  static open(option: string): PtyChardev {
    try {
      const { masterFd, path } = addon().openPty()
      return new PtyChardev(masterFd, openOtherEnd(masterFd, path), path)
    } catch (cause) {
      throw new TsvmmError('ERR_CHARDEV', { option, path: 'pty', reason: reasonOf(cause) }, { cause })
    }
  }

  write(bytes: Uint8Array): void {
    this.#writer.write(bytes)
  }

  onInput(listener: (bytes: Uint8Array) => void): void {
    this.#listener = listener
    if (this.#isReading || this.#isClosed) return
    this.#isReading = true
    this.#master.on('data', bytes => this.#listener(bytes))
  }

  setInputWanted(isWanted: boolean): void {
    if (this.#isClosed || !this.#isReading) return
    if (isWanted) this.#master.resume()
    else this.#master.pause()
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#writer.close()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#master.once('close', resolve)
    this.#master.destroy()
    await promise
    closeSync(this.#otherEnd)
  }
}

function openOtherEnd(masterFd: number, path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_NOCTTY)
  } catch (error) {
    closeSync(masterFd)
    throw error
  }
}
