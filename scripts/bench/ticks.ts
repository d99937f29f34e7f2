import type { ChildProcess } from 'node:child_process'

/**
 * For the kernel's command line: an init that prints the guest's time of day every 10 ms, without a process each. Not every VMM
 * takes input from a pipe, so nobody can type that.
 */
export const tickingInit =
  'rdinit=/bin/sh -- -c "mkfifo /never; exec 3<>/never; while :; do read -t 0.01 x <&3; echo $EPOCHREALTIME; done"'

const tick = /(\d*)\.(\d{6})\r?\n/g
const timeoutMs = 120_000

/** When a line of the guest came: by this host's clock, and by the guest's own. */
export interface Tick {
  readonly hostMs: number
  readonly guestMs: number
}

/** What a guest that ticks prints on the standard output of its VMM. */
export class Ticks {
  readonly all: Tick[] = []
  readonly #name: string
  #text = ''
  #changed: (error?: Error) => void = () => {}

  constructor(child: ChildProcess, name: string) {
    this.#name = name
    let complaints = ''
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      complaints += chunk
    })
    child.stdout?.setEncoding('latin1').on('data', (chunk: string) => this.#read(chunk, performance.now()))
    child.on('error', error => this.#changed(error))
    child.on('exit', code => this.#changed(new Error(`${name} ended with ${code}:\n${this.#text}\n${complaints}`)))
  }

  /** The first tick from now on. Of one that was cut in two by a snapshot the second half counts. */
  async next(): Promise<Tick> {
    const seen = this.all.length
    await this.#until(() => this.all.length > seen)
    const next = this.all[seen]
    if (next === undefined) throw new Error(`${this.#name}: no tick`)
    return next
  }

  #read(chunk: string, hostMs: number): void {
    this.#text += chunk
    let end = 0
    for (const match of this.#text.matchAll(tick)) {
      this.all.push({ hostMs, guestMs: Number(match[1]) * 1000 + Number(match[2]) / 1000 })
      end = match.index + match[0].length
    }
    this.#text = this.#text.slice(end)
    this.#changed()
  }

  async #until(isThere: () => boolean): Promise<void> {
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(
      () => late.reject(new Error(`${this.#name}: no tick in ${timeoutMs} ms:\n${this.#text}`)),
      timeoutMs,
    )
    try {
      while (!isThere()) {
        const changed = new Promise<void>((resolve, reject) => {
          this.#changed = error => (error === undefined ? resolve() : reject(error))
        })
        await Promise.race([changed, late.promise])
      }
    } finally {
      clearTimeout(timer)
      this.#changed = () => {}
    }
  }
}

/** What is less is the rest of a tick that was cut. */
const earliestMs = 1e12

/** The longest time without a whole tick from `fromMs` of the host on, by either clock. */
export function longestGap(all: readonly Tick[], fromMs: number): { hostMs: number; guestMs: number } {
  const ticks = all.filter(({ guestMs }) => guestMs >= earliestMs)
  const first = Math.max(
    0,
    ticks.findLastIndex(({ hostMs }) => hostMs < fromMs),
  )
  const gap = { hostMs: 0, guestMs: 0 }
  for (const [index, now] of ticks.entries()) {
    const before = ticks[index - 1]
    if (index <= first || before === undefined) continue
    gap.hostMs = Math.max(gap.hostMs, now.hostMs - before.hostMs)
    gap.guestMs = Math.max(gap.guestMs, now.guestMs - before.guestMs)
  }
  return gap
}
