import { closeSync, constants, openSync } from 'node:fs'
import { hasCode, reasonOf, TsvmmError } from '../util/errors.ts'
import type { Chardev } from './chardev.ts'
import { DescriptorWriter } from './descriptor-writer.ts'

/** Output to the end of a file, created for its owner alone or emptied, or into a FIFO that somebody reads; no input. */
export class FileChardev implements Chardev {
  readonly #fd: number
  readonly #writer: DescriptorWriter
  #isClosed = false

  private constructor(fd: number) {
    this.#fd = fd
    this.#writer = new DescriptorWriter(fd)
  }

  /** Where `keeps`, what it has stays: another one may write there still. Throws ERR_CHARDEV naming `option`. */
  static open(option: string, path: string, keeps = false): FileChardev {
    const { O_WRONLY, O_APPEND, O_CREAT, O_TRUNC, O_NONBLOCK, O_NOCTTY } = constants
    const flags = O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY
    try {
      return new FileChardev(openSync(path, keeps ? flags : flags | O_TRUNC, 0o600))
    } catch (cause) {
      throw new TsvmmError('ERR_CHARDEV', { option, path, reason: openReason(cause) }, { cause })
    }
  }

  write(bytes: Uint8Array): void {
    this.#writer.write(bytes)
  }

  onInput(): void {}
  setInputWanted(): void {}

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#writer.close()
    closeSync(this.#fd)
  }
}

function openReason(cause: unknown): string {
  const isUnread = hasCode(cause, 'ENXIO')
  return isUnread ? 'nobody reads this FIFO' : reasonOf(cause)
}
