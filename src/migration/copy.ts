import { allPages, countPages, union } from '../memory/page-bitmap.ts'
import { imagePageBytes, imagePagesOf } from '../memory/ram-image.ts'
import type { RamSender } from '../memory/ram-transfer.ts'
import { reasonOf } from '../util/errors.ts'
import { Convergence } from './convergence.ts'
import { migrationError } from './error.ts'
import type { DepartingMachine } from './machines.ts'
import type { MigrationProgress } from './progress.ts'
import type { SendSettings } from './send-options.ts'

/** What there is to be told of a copy. */
export type CopyProgress = Omit<MigrationProgress, 'phase' | 'id' | 'elapsedMs'>

/** The memory of a machine on its way, pass by pass. */
export class MemoryCopy {
  readonly #machine: DepartingMachine
  readonly #sender: RamSender
  readonly #convergence: Convergence
  /** Told when a pass begins: its number, and how many pages it has. */
  readonly #onPass: (pass: number, pages: number) => void
  readonly #begunMs = performance.now()
  readonly #isAtOnce: boolean
  /** What is left goes over when the machine runs at the destination. */
  #isLate = false
  #passes = 0
  #bytesPerSecond = 0
  /** What was written during the last pass, and is not sent yet. */
  #left: Uint8Array | undefined
  /** How far it had come in the end. */
  #last: CopyProgress | undefined

  constructor(
    machine: DepartingMachine,
    sender: RamSender,
    settings: SendSettings,
    onPass: (pass: number, pages: number) => void,
  ) {
    this.#machine = machine
    this.#sender = sender
    this.#convergence = new Convergence({ ...settings, mayPostcopy: settings.postcopy === 'if-needed' })
    this.#isAtOnce = settings.postcopy === 'at-once'
    this.#onPass = onPass
  }

  get progress(): CopyProgress {
    return this.#last ?? this.#progress()
  }

  #progress(): CopyProgress {
    const { pagesDone, pagesTotal, bytesSent } = this.#sender.counters()
    return {
      ...{ passes: this.#passes, bytesDone: pagesDone * imagePageBytes, bytesTotal: pagesTotal * imagePageBytes },
      ...{ bytesSent, bytesPerSecond: this.#bytesPerSecond },
      dirtyBytesPerSecond: this.#convergence.dirtyPagesPerSecond * imagePageBytes,
      ...(this.#left === undefined ? {} : { expectedDowntimeMs: this.#convergence.expectedDowntimeMs }),
      throttlePercent: this.#convergence.throttlePercent,
    }
  }

  /** While the machine runs, until little is left to send. Throws ERR_MIGRATION where that is not to be. */
  async run(signal: AbortSignal): Promise<void> {
    const { lineage } = this.#machine
    lineage.track()
    let next: Uint8Array = allPages(this.#pages)
    if (this.#isAtOnce) {
      this.#left = next
      this.#isLate = true
      return
    }
    for (let isDone = false; !isDone; ) {
      const begunMs = performance.now()
      await this.#pass(next, signal)
      const left = lineage.pages()
      const elapsedMs = performance.now() - begunMs
      this.#left = left
      isDone = this.#judge({ pages: countPages(next), elapsedMs, dirtyPages: countPages(left) })
      next = left
    }
  }

  get #pages(): number {
    return imagePagesOf(this.#machine.ram.ranges)
  }

  /** Whether what is left goes over when the machine runs at the destination: late(), not finish(). */
  get isLate(): boolean {
    return this.#isLate
  }

  /** The machine stands still: what has not gone over. */
  late(): { readonly pass: number; readonly missing: Uint8Array } {
    const written = this.#machine.lineage.pages()
    return { pass: this.#passes, missing: this.#left === undefined ? written : union(this.#left, written) }
  }

  /** The machine stands still: sends what is left. What is returned settles when the destination has it. */
  finish(signal: AbortSignal): { readonly pass: number; readonly sent: Promise<void> } {
    const written = this.#machine.lineage.pages()
    const sent = this.#pass(this.#left === undefined ? written : union(this.#left, written), signal)
    return { pass: this.#passes, sent }
  }

  /** What is left goes over by other means: the sender is somebody else's from now on. */
  release(): void {
    this.#last ??= this.#progress()
  }

  /** Idempotent. */
  close(): void {
    this.release()
    this.#sender.close()
    this.#machine.lineage.forget()
  }

  async #pass(pages: Uint8Array, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    this.#passes += 1
    this.#onPass(this.#passes, countPages(pages))
    const onAbort = () => this.#sender.cut()
    signal.addEventListener('abort', onAbort, { once: true })
    const [begunMs, before] = [performance.now(), this.#sender.counters().bytesSent]
    try {
      await this.#sender.send(this.#passes === 1 ? 'first' : 'again', pages)
      const bytes = this.#sender.counters().bytesSent - before
      this.#bytesPerSecond = (bytes * 1000) / Math.max(1, performance.now() - begunMs)
    } catch (cause) {
      signal.throwIfAborted()
      throw migrationError(`memory cannot be sent: ${reasonOf(cause)}`, cause)
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** Whether it is time to pause the machine. */
  #judge(pass: { pages: number; elapsedMs: number; dirtyPages: number }): boolean {
    const decision = this.#convergence.decide(pass, performance.now() - this.#begunMs)
    switch (decision.kind) {
      case 'pass':
        return false
      case 'throttle':
        this.#machine.throttle(decision.percent)
        return false
      case 'postcopy':
        this.#isLate = true
        return true
      case 'cut-over':
        return true
      case 'cancel': {
        const expected = Math.round(this.#convergence.expectedDowntimeMs)
        throw migrationError(`the time for it is over, and the machine would still stand still for ${expected} ms`)
      }
    }
  }
}
