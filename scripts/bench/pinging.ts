import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'

const intervalSeconds = 0.01

/** Asks an address for an answer every 10 ms. */
export class Pinging implements AsyncDisposable {
  readonly #child: ChildProcess
  /** When answers came, in milliseconds since 1970. */
  readonly #answers: number[] = []
  #text = ''

  constructor(address: string) {
    this.#child = spawn('ping', ['-n', '-D', '-i', `${intervalSeconds}`, address], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    this.#child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (this.#text + chunk).split('\n')
      this.#text = lines.pop() ?? ''
      this.#answers.push(...lines.flatMap(answerTime))
    })
  }

  get hasAnswers(): boolean {
    return this.#answers.length > 0
  }

  /** The longest time without an answer, from that time on. Throws where there was none. */
  longestGapMs(fromMs: number): number {
    const first = Math.max(
      0,
      this.#answers.findLastIndex(each => each < fromMs),
    )
    const answers = this.#answers.slice(first)
    if (answers.length < 2) throw new Error('nobody answers')
    return answers.slice(1).reduce((longest, now, index) => Math.max(longest, now - (answers[index] ?? now)), 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL')
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit')
  }
}

/** Of a line that `ping -D` prints of an answer. */
export function answerTime(line: string): number[] {
  const seconds = /^\[(\d+\.\d+)\] \d+ bytes from /.exec(line)?.[1]
  return seconds === undefined ? [] : [Number(seconds) * 1000]
}
