import type { ReadStream, WriteStream } from 'node:tty'
import type { Chardev } from './chardev.ts'

type Input = NodeJS.ReadStream | ReadStream
type Output = NodeJS.WriteStream | WriteStream

/** Ctrl-A, then: x ends the machine, Ctrl-A sends itself. */
const escapeByte = 0x01
const endByte = 'x'.charCodeAt(0)

/**
 * The console on this process's own input and output. A terminal is put into raw mode, so that the guest gets every key;
 * `onEnd` is called where the person asks for the end by Ctrl-A x. Without a terminal input is passed on as it is.
 */
export class TerminalChardev implements Chardev {
  readonly #input: Input
  readonly #output: Output
  readonly #hasPerson: boolean
  #listener: (bytes: Uint8Array) => void = () => {}
  #isEscaped = false
  #isClosed = false
  readonly #restore = () => {
    if (this.#input.isTTY) this.#input.setRawMode(false)
  }

  constructor(input: Input, output: Output) {
    this.#input = input
    this.#output = output
    // Behind a relay that has put a terminal into raw mode (the nested lab) a person types as well.
    this.#hasPerson = input.isTTY || process.env['TSVMM_TERMINAL'] === '1'
    if (input.isTTY) {
      input.setRawMode(true)
      // A crash must not leave the person with a terminal that shows nothing.
      process.once('exit', this.#restore)
    }
    input.on('data', this.#onData)
    output.on('error', () => {})
  }

  write(bytes: Uint8Array): void {
    if (!this.#isClosed) this.#output.write(bytes)
  }

  onInput(listener: (bytes: Uint8Array) => void): void {
    this.#listener = listener
  }

  setInputWanted(isWanted: boolean): void {
    if (this.#isClosed) return
    if (isWanted) this.#input.resume()
    else this.#input.pause()
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#input.off('data', this.#onData)
    this.#input.pause()
    process.off('exit', this.#restore)
    this.#restore()
  }

  readonly #onData = (chunk: Buffer | string) => {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    this.#listener(this.#hasPerson ? this.#withoutEscapes(bytes) : bytes)
  }

  #withoutEscapes(bytes: Uint8Array): Uint8Array {
    const kept: number[] = []
    for (const byte of bytes) {
      if (this.#isEscaped) {
        this.#isEscaped = false
        if (byte === endByte) process.kill(process.pid, 'SIGTERM')
        else kept.push(byte)
      } else if (byte === escapeByte) this.#isEscaped = true
      else kept.push(byte)
    }
    return Uint8Array.from(kept)
  }
}
