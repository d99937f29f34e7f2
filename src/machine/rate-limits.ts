import type { RateLimiterConfig } from '../config/vm-config.ts'
import { createRateLimiter } from '../virtio/engines.native.ts'

/** A limiter that engines take. */
export type SharedLimiter = ReturnType<typeof createRateLimiter>

type Bucket = NonNullable<Parameters<typeof createRateLimiter>[0]['bytes']>

/** The limiter of a configuration; undefined where it limits nothing. */
export function limiterOf(config: RateLimiterConfig | undefined): SharedLimiter | undefined {
  const [bytes, operations] = [bucketOf(config?.bandwidth), bucketOf(config?.ops)]
  return bytes === undefined && operations === undefined ? undefined : createRateLimiter({ bytes, operations })
}

function bucketOf(config: RateLimiterConfig['ops']): Bucket | undefined {
  if (config === undefined) return undefined
  const { size, one_time_burst: oneTimeBurst, refill_time: refillMs } = config
  return size === 0 ? undefined : { size, oneTimeBurst, refillMs }
}
