import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { TsvmmError } from '../util/errors.ts'
import { type RateLevels, rateLimitGroupState } from './rate-limiter-state.ts'

/** How much a device may do in a time; tokens fill as time goes on. */
export interface RateLimiter {
  levels(): RateLevels
  /** What is more than the limits allow is cut. */
  setLevels(levels: RateLevels): void
}

/** A limiter of a machine: nothing fills while that is paused. */
export class PausableLimiter {
  readonly #limiter: RateLimiter
  #held: RateLevels | undefined

  constructor(limiter: RateLimiter) {
    this.#limiter = limiter
  }

  pause(): void {
    this.#held ??= this.#limiter.levels()
  }

  resume(): void {
    if (this.#held !== undefined) this.#limiter.setLevels(this.#held)
    this.#held = undefined
  }

  save(): RateLevels {
    return this.#held ?? this.#limiter.levels()
  }

  /** Only of a paused machine. */
  load(levels: RateLevels): void {
    this.#held = levels
  }

  /** Whether it limits the same: bytes, operations, or both. */
  fits(levels: RateLevels): boolean {
    const own = this.#limiter.levels()
    const isSame = (name: keyof RateLevels) => (own[name] === undefined) === (levels[name] === undefined)
    return isSame('bytes') && isSame('operations')
  }
}

/** Throws ERR_STATE_INVALID where what was saved is of another limiter than the component's, undefined is none. */
export function loadLimiter(component: string, limiter: PausableLimiter | undefined, levels?: RateLevels): void {
  const isSame = limiter === undefined || levels === undefined ? limiter === levels : limiter.fits(levels)
  if (!isSame) throw new TsvmmError('ERR_STATE_INVALID', { component, reason: 'it was saved with other limits' })
  if (levels !== undefined) limiter?.load(levels)
}

/** Disks that may do so much together. A reset leaves it as it is: a guest does not get more by booting again. */
export class RateLimitGroup implements Component {
  readonly name: string
  readonly state = saved({
    schema: rateLimitGroupState,
    save: () => this.#pausable.save(),
    load: (levels: RateLevels) => loadLimiter(this.name, this.#pausable, levels),
  })
  readonly #pausable: PausableLimiter

  constructor(id: string, limiter: RateLimiter) {
    this.name = `__rate_limit_group_${id}`
    this.#pausable = new PausableLimiter(limiter)
  }

  async pause(): Promise<void> {
    this.#pausable.pause()
  }

  resume(): void {
    this.#pausable.resume()
  }

  reset(): void {}
  async close(): Promise<void> {}
}
