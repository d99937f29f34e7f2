import type { Readable, Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'

export interface CommandResult {
  readonly output: string
  readonly exitCode: number
}

/** Shells ask terminals that have no size, and do without an answer. */
const cursorQuestion = '\x1b[6n'

/** A serial console driven as a person would: read until something appears, type, read on. */
export class GuestConsole {
  readonly #input: Writable
  readonly #epilogue: () => Promise<string>
  #text = ''
  #cursor = 0
  #ended = false
  #changed: () => void = () => {}
  #commands = 0

  /** `epilogue` tells how the program behind the console ended, for the report of a test that wanted more from it. */
  constructor(output: Readable, input: Writable, epilogue: () => Promise<string> = async () => '') {
    this.#input = input
    this.#epilogue = epilogue
    input.on('error', () => {})
    output.setEncoding('utf8')
    output.on('data', (chunk: string) => {
      // It may come in two parts.
      const start = Math.max(0, this.#text.length - cursorQuestion.length)
      this.#text =
        this.#text.slice(0, start) +
        (this.#text.slice(start) + chunk).replaceAll('\r', '').replaceAll(cursorQuestion, '')
      this.#changed()
    })
    output.on('end', () => {
      this.#ended = true
      this.#changed()
    })
  }

  /** All that the guest has said, carriage returns and questions for the cursor's position left out. */
  get transcript(): string {
    return this.#text
  }

  type(text: string): void {
    this.#input.write(text)
  }

  /** Reads on until `pattern`; what it matched and all before it counts as read. Rejects with the last lines where it never comes. */
  async waitFor(pattern: RegExp, timeoutMs = 120_000): Promise<RegExpExecArray> {
    const deadline = new AbortController()
    const expired = delay(timeoutMs, 'expired', { signal: deadline.signal }).catch(() => 'cancelled')
    try {
      for (;;) {
        const match = pattern.exec(this.#text.slice(this.#cursor))
        if (match !== null) {
          this.#cursor += match.index + match[0].length
          return match
        }
        if (this.#ended) {
          throw new Error(`the console ended before ${pattern}${await this.#epilogue()}:\n${this.#tail()}`)
        }
        const changed = new Promise<string>(resolve => {
          this.#changed = () => resolve('changed')
        })
        if ((await Promise.race([changed, expired])) === 'expired') {
          throw new Error(`no ${pattern} within ${timeoutMs} ms:\n${this.#tail()}`)
        }
      }
    } finally {
      deadline.abort()
    }
  }

  async logIn(timeoutMs = 240_000, user = 'root', password = 'tsvmm'): Promise<void> {
    await this.waitFor(/login: $/, timeoutMs)
    this.type(`${user}\n`)
    await this.waitFor(/Password: $/)
    this.type(`${password}\n`)
    await this.waitFor(/[#$] $/)
    // Plain output: no prompt, no echo, no line editing, no kernel messages in between to tell apart from what commands print.
    this.type(
      "dmesg -n 1 2>&-; stty -echo cols 500; PS1='' PS2=''; bind 'set enable-bracketed-paste off' 2>/dev/null; echo qui''et\n",
    )
    await this.waitFor(/quiet\n/)
  }

  /** Runs one shell line and returns what it printed. */
  async run(command: string, timeoutMs = 120_000): Promise<CommandResult> {
    this.#commands += 1
    const token = `END-${this.#commands}`
    this.type(`${command}\necho "${token.slice(0, 3)}""${token.slice(3)}:$?"\n`)
    const start = this.#cursor
    const match = await this.waitFor(new RegExp(`${token}:(\\d+)\\n`), timeoutMs)
    const read = this.#text.slice(start, this.#cursor - match[0].length)
    return { output: read.replace(/^\n/, ''), exitCode: Number(match[1]) }
  }

  /** As run(), but the command must succeed. */
  async check(command: string, timeoutMs?: number): Promise<string> {
    const { output, exitCode } = await this.run(command, timeoutMs)
    if (exitCode !== 0) throw new Error(`"${command}" ended with ${exitCode} in the guest:\n${output}`)
    return output.trimEnd()
  }

  #tail(): string {
    return this.#text.split('\n').slice(-40).join('\n')
  }
}
