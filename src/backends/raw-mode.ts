import type { ReadStream } from 'node:tty'

/** Signals that end a program without its knowledge, but for those at which Node resets the terminal itself. */
const fatalSignals = ['SIGHUP', 'SIGQUIT'] as const

/**
 * A terminal in raw mode: every key goes to the guest. It gets its own settings back when this is left, when the process
 * exits in whatever way it knows of, and before a signal ends it.
 */
export class RawMode {
  readonly #terminal: ReadStream
  #isLeft = false
  readonly #restore = () => {
    this.#terminal.setRawMode(false)
  }
  readonly #onSignal = (signal: NodeJS.Signals) => {
    // Others may want the process to go on.
    if (process.listenerCount(signal) > 1) return
    this.leave()
    process.kill(process.pid, signal)
  }

  constructor(terminal: ReadStream) {
    this.#terminal = terminal
    terminal.setRawMode(true)
    process.on('exit', this.#restore)
    for (const signal of fatalSignals) process.on(signal, this.#onSignal)
  }

  /** Idempotent. */
  leave(): void {
    if (this.#isLeft) return
    this.#isLeft = true
    process.off('exit', this.#restore)
    for (const signal of fatalSignals) process.off(signal, this.#onSignal)
    this.#restore()
  }
}
