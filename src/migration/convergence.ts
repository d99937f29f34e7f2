/** When a machine that goes on writing has been copied well enough: pure policy. */

export interface ConvergenceOptions {
  /** The longest that the machine may stand still. */
  readonly downtimeMs: number
  /** After that it is moved whatever the pause, or not at all. */
  readonly timeoutMs: number
  readonly atTimeout: 'cancel' | 'cut-over'
  /** The most that vCPUs may be slowed down by, in percent; 0: not at all. */
  readonly mostThrottlePercent: number
  /** Instead of that the machine may go on at the destination with pages that have not arrived. */
  readonly mayPostcopy: boolean
}

/** A pass over the memory, and what was written meanwhile. */
export interface PassReport {
  readonly pages: number
  readonly elapsedMs: number
  readonly dirtyPages: number
}

export type Decision =
  | { readonly kind: 'pass' }
  /** Another pass, with vCPUs slowed down by so much. */
  | { readonly kind: 'throttle'; readonly percent: number }
  | { readonly kind: 'cut-over' }
  | { readonly kind: 'postcopy' }
  | { readonly kind: 'cancel' }

/** What is to be expected beside the memory: the state, and both sides agreeing. */
const fixedMs = 20
/** Sending so few pages takes no longer than everything else: 1 MiB. */
const fewPages = 256
/** A pass that leaves more than this share of what the one before has left does not bring the end nearer. */
const shrinkingShare = 0.75
/** So many such passes are chance. */
const mostStandstills = 2
/** A guest that keeps on shrinking, slowly, is copied no more often than this once it is good enough. */
const mostPasses = 30
const firstThrottlePercent = 20
const throttleStepPercent = 10

export class Convergence {
  readonly #options: ConvergenceOptions
  #pass: PassReport | undefined
  /** Of passes that were long enough to tell. */
  #pagesPerMs: number | undefined
  #passes = 0
  #standstills = 0
  #throttlePercent = 0

  constructor(options: ConvergenceOptions) {
    this.#options = options
  }

  get throttlePercent(): number {
    return this.#throttlePercent
  }

  /** How fast the guest writes to pages that it had not written to in that pass. */
  get dirtyPagesPerSecond(): number {
    const { dirtyPages, elapsedMs } = this.#pass ?? { dirtyPages: 0, elapsedMs: 1 }
    return (dirtyPages * 1000) / Math.max(elapsedMs, 1)
  }

  /** If it were paused now. */
  get expectedDowntimeMs(): number {
    const { dirtyPages } = this.#pass ?? { dirtyPages: Number.POSITIVE_INFINITY }
    return fixedMs + dirtyPages / (this.#pagesPerMs ?? 1)
  }

  /** What comes after this pass, so long after the begin. */
  decide(pass: PassReport, elapsedMs: number): Decision {
    const { downtimeMs, timeoutMs, atTimeout, mayPostcopy } = this.#options
    const isShrinking = pass.dirtyPages <= (this.#pass?.dirtyPages ?? Number.POSITIVE_INFINITY) * shrinkingShare
    this.#note(pass)
    const isGoodEnough = this.expectedDowntimeMs <= downtimeMs
    if (pass.dirtyPages <= fewPages && isGoodEnough) return { kind: 'cut-over' }
    if (elapsedMs >= timeoutMs) return { kind: isGoodEnough ? 'cut-over' : atTimeout }
    if (isGoodEnough) return { kind: isShrinking && this.#passes < mostPasses ? 'pass' : 'cut-over' }
    this.#standstills = isShrinking ? 0 : this.#standstills + 1
    if (this.#standstills < mostStandstills) return { kind: 'pass' }
    this.#standstills = 0
    return mayPostcopy ? { kind: 'postcopy' } : this.#throttle()
  }

  #note(pass: PassReport): void {
    this.#pass = pass
    this.#passes += 1
    // The time of a pass of a few pages is that of the way there and back.
    if (pass.pages > fewPages || this.#pagesPerMs === undefined) {
      this.#pagesPerMs = Math.max(pass.pages, 1) / Math.max(pass.elapsedMs, 0.1)
    }
  }

  #throttle(): Decision {
    const { mostThrottlePercent } = this.#options
    const next = this.#throttlePercent === 0 ? firstThrottlePercent : this.#throttlePercent + throttleStepPercent
    const percent = Math.min(next, mostThrottlePercent)
    if (percent === this.#throttlePercent) return { kind: 'pass' }
    this.#throttlePercent = percent
    return { kind: 'throttle', percent }
  }
}
