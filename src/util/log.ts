/** How much there is to say: each level includes those before it. */
export const logLevels = ['error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof logLevels)[number]

export interface LogOptions {
  readonly level: LogLevel
  /** Takes one line, its end included. */
  write(line: string): void
  /** Milliseconds since the start of the program. */
  now(): number
}

/** Tells what happens to a machine, one line an event: `tsvmm: 1.234567s: INFO: the machine runs`. */
export class Log {
  readonly #options: LogOptions
  readonly #last: number

  constructor(options: LogOptions) {
    this.#options = options
    this.#last = logLevels.indexOf(options.level)
  }

  /** What happens to one of several machines. */
  of(name: string): Log {
    const { write, ...options } = this.#options
    // Behind the level.
    return new Log({ ...options, write: line => write(line.replace(/^(tsvmm: [^:]+: [^:]+: )/, `$1${name}: `)) })
  }

  error(message: string): void {
    this.#write('error', message)
  }

  warn(message: string): void {
    this.#write('warn', message)
  }

  info(message: string): void {
    this.#write('info', message)
  }

  debug(message: string): void {
    this.#write('debug', message)
  }

  #write(level: LogLevel, message: string): void {
    if (logLevels.indexOf(level) > this.#last) return
    const seconds = (this.#options.now() / 1000).toFixed(6)
    // What a guest or a file had a say in must not look like a second line.
    const line = message.replaceAll(/[\r\n]+/g, ' ')
    this.#options.write(`tsvmm: ${seconds}s: ${level.toUpperCase()}: ${line}\n`)
  }
}
