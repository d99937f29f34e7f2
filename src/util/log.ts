/** How much there is to say: each level includes those before it. */
export const logLevels = ['error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof logLevels)[number]

/** Puts a line together, its end included. `seconds` since the start of the program, with six decimals. */
export type LogForm = (seconds: string, level: LogLevel, message: string) => string

export interface LogOptions {
  readonly level: LogLevel
  /** Takes one line, its end included. */
  write(line: string): void
  /** Milliseconds since the start of the program. */
  now(): number
  /** [tsvmm's own] */
  readonly form?: LogForm
}

const ownForm: LogForm = (seconds, level, message) => `tsvmm: ${seconds}s: ${level.toUpperCase()}: ${message}\n`

/** Tells what happens to a machine, one line an event: `tsvmm: 1.234567s: INFO: the machine runs`. */
export class Log {
  readonly #options: LogOptions
  readonly #last: number
  /** Before every message. */
  readonly #subject: string

  constructor(options: LogOptions, subject = '') {
    this.#options = options
    this.#last = logLevels.indexOf(options.level)
    this.#subject = subject
  }

  /** What happens to one of several machines. */
  of(name: string): Log {
    return new Log(this.#options, `${this.#subject}${name}: `)
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
    const { now, write, form = ownForm } = this.#options
    const seconds = (now() / 1000).toFixed(6)
    // What a guest or a file had a say in must not look like a second line.
    const line = message.replaceAll(/[\r\n]+/g, ' ')
    write(form(seconds, level, `${this.#subject}${line}`))
  }
}
