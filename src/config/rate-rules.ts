import { checkUnique, fail } from './checks.ts'
import type { RateLimiterConfig, VmConfig } from './vm-config.ts'

/** What must hold for what limits disks and cards. Throws ERR_CONFIG_INVALID naming flag and key. */
export function checkRates({ disks, net, rate_limit_groups }: VmConfig): void {
  checkUnique(
    '--rate-limit-group',
    'id',
    rate_limit_groups.map(({ id }) => id),
  )
  for (const group of rate_limit_groups) checkLimiter('--rate-limit-group', group.rate_limiter_config)
  for (const { rate_limiter_config, rate_limit_group } of disks) {
    checkLimiter('--disk', rate_limiter_config)
    if (rate_limit_group === undefined) continue
    if (rate_limiter_config !== undefined)
      fail('--disk', 'rate_limit_group: cannot be given together with limits of its own')
    if (!rate_limit_groups.some(({ id }) => id === rate_limit_group)) {
      fail('--disk', `rate_limit_group: there is no --rate-limit-group ${rate_limit_group}`)
    }
  }
  for (const { rate_limiter_config } of net) checkLimiter('--net', rate_limiter_config)
}

function checkLimiter(flag: string, limiter: RateLimiterConfig | undefined): void {
  for (const [key, bucket] of Object.entries({ bw: limiter?.bandwidth, ops: limiter?.ops })) {
    if (bucket === undefined) continue
    const { size, one_time_burst, refill_time } = bucket
    if (size > 0 && refill_time === 0) fail(flag, `${key}_size: needs ${key}_refill_time`)
    if (size === 0 && one_time_burst > 0) fail(flag, `${key}_one_time_burst: needs ${key}_size`)
  }
}
