import type { Chardev } from '../chardev.ts'

/** A back end whose other end is the test. */
export class FakeChardev implements Chardev {
  readonly writes: string[] = []
  isInputWanted = true
  isClosed = false
  #input: (bytes: Uint8Array) => void = () => {}
  #breaks: () => void = () => {}

  /** All output so far, one character a byte. */
  get output(): string {
    return this.writes.join('')
  }

  type(text: string): void {
    this.#input(Buffer.from(text, 'latin1'))
  }

  sendBreak(): void {
    this.#breaks()
  }

  write(bytes: Uint8Array): void {
    this.writes.push(Buffer.from(bytes).toString('latin1'))
  }

  onInput(listener: (bytes: Uint8Array) => void): void {
    this.#input = listener
  }

  onBreak(listener: () => void): void {
    this.#breaks = listener
  }

  setInputWanted(isWanted: boolean): void {
    this.isInputWanted = isWanted
  }

  async close(): Promise<void> {
    this.isClosed = true
  }
}
