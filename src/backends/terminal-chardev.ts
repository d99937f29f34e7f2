import { closeSync, constants, openSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { ReadStream } from 'node:tty'
import type { Chardev, TerminalSize } from './chardev.ts'
import { DescriptorWriter } from './descriptor-writer.ts'
import { EscapeSequences } from './escape-sequences.ts'
import { RawMode } from './raw-mode.ts'
import { StreamWriter } from './stream-writer.ts'

type Input = Readable & { readonly isTTY?: boolean | undefined }
type Output = Writable & {
  readonly isTTY?: boolean | undefined
  readonly fd?: number
  readonly columns?: number
  readonly rows?: number
}

export interface TerminalOptions {
  readonly input: Input
  readonly output: Output
  /** A person types, though `input` is no terminal: it comes from a relay that has put one into raw mode. */
  readonly hasPerson?: boolean
  /** The person asks for the end of the machine: Ctrl-A x. */
  onEnd(): void
}

/**
 * The console on this process's own input and output. A terminal is put into raw mode, and what a person types is
 * searched for escape sequences. Anything else is read as it is until it ends; the console goes on then.
 */
export class TerminalChardev implements Chardev {
  readonly #input: Input
  readonly #output: Output
  readonly #writer: Writer
  readonly #rawMode: RawMode | undefined
  readonly #escapes: EscapeSequences | undefined
  readonly #onEnd: () => void
  #onBytes: (bytes: Uint8Array) => void = () => {}
  #onBreak: () => void = () => {}
  #onSize: (size: TerminalSize) => void = () => {}
  #isReading = false
  #isClosed = false
  readonly #onResize = () => {
    if (this.size !== undefined) this.#onSize(this.size)
  }
  readonly #onData = (chunk: Buffer | string) => this.#receive(typeof chunk === 'string' ? Buffer.from(chunk) : chunk)
  readonly #onError = () => {}

  constructor({ input, output, hasPerson, onEnd }: TerminalOptions) {
    this.#input = input
    this.#output = output
    this.#onEnd = onEnd
    this.#writer = openWriter(output)
    if (input instanceof ReadStream) this.#rawMode = new RawMode(input)
    if (hasPerson === true || input.isTTY === true) this.#escapes = new EscapeSequences()
    output.on('resize', this.#onResize)
    input.on('error', this.#onError)
  }

  get size(): TerminalSize | undefined {
    const { columns, rows } = this.#output
    return columns === undefined || rows === undefined ? undefined : { columns, rows }
  }

  write(bytes: Uint8Array): void {
    this.#writer.write(bytes)
  }

  onInput(listener: (bytes: Uint8Array) => void): void {
    this.#onBytes = listener
    if (this.#isReading || this.#isClosed) return
    this.#isReading = true
    this.#input.on('data', this.#onData)
    // Whoever had it before has left it paused.
    this.#input.resume()
  }

  onBreak(listener: () => void): void {
    this.#onBreak = listener
  }

  onResize(listener: (size: TerminalSize) => void): void {
    this.#onSize = listener
  }

  setInputWanted(isWanted: boolean): void {
    if (this.#isClosed || !this.#isReading) return
    if (isWanted) this.#input.resume()
    else this.#input.pause()
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#input.off('data', this.#onData)
    this.#input.pause()
    this.#output.off('resize', this.#onResize)
    this.#writer.close()
    this.#rawMode?.leave()
  }

  #receive(bytes: Uint8Array): void {
    for (const typed of this.#escapes?.parse(bytes) ?? [bytes]) {
      if (typed === 'end') this.#onEnd()
      else if (typed === 'break') this.#onBreak()
      else this.#onBytes(typed)
    }
  }
}

interface Writer {
  write(bytes: Uint8Array): void
  close(): void
}

/**
 * Node writes to terminals and waits for them. A terminal opened anew has a file description of its own, which may be
 * non-blocking without harm to others that share the first. Where that is not allowed, a stuck terminal stops us.
 */
function openWriter(output: Output): Writer {
  if (output.isTTY !== true || output.fd === undefined) return new StreamWriter(output)
  try {
    const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants
    const fd = openSync(`/proc/self/fd/${output.fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY)
    const writer = new DescriptorWriter(fd)
    return {
      write: bytes => writer.write(bytes),
      close: () => {
        writer.close()
        closeSync(fd)
      },
    }
  } catch {
    return new StreamWriter(output)
  }
}
