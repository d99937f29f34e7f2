import type { RateLimiter } from '../rate-limiter.ts'
import type { RateLevels } from '../rate-limiter-state.ts'

/** A limiter that no clock fills. */
export class FakeLimiter implements RateLimiter {
  #levels: RateLevels

  constructor(levels: RateLevels) {
    this.#levels = levels
  }

  levels(): RateLevels {
    return this.#levels
  }

  setLevels(levels: RateLevels): void {
    this.#levels = levels
  }
}
