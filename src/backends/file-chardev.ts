import { closeSync, openSync, writeSync } from 'node:fs'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import type { Chardev } from './chardev.ts'

/** Output into a file, created or emptied; no input. */
export class FileChardev implements Chardev {
  #fd: number | undefined

  private constructor(fd: number) {
    this.#fd = fd
  }

  static open(option: string, path: string): FileChardev {
    try {
      return new FileChardev(openSync(path, 'w', 0o600))
    } catch (cause) {
      throw new TsvmmError('ERR_CHARDEV', { option, path, reason: reasonOf(cause) }, { cause })
    }
  }

  write(bytes: Uint8Array): void {
    if (this.#fd === undefined) return
    try {
      writeSync(this.#fd, bytes)
    } catch {
      // A full disk must not stop the guest; what it printed is lost.
    }
  }

  onInput(): void {}
  setInputWanted(): void {}

  async close(): Promise<void> {
    if (this.#fd === undefined) return
    closeSync(this.#fd)
    this.#fd = undefined
  }
}
