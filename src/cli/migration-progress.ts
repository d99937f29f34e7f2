import { migrationProgressSchema } from '../api/schemas.ts'
import { seldomChecked } from '../util/issues.ts'
import type { Progress } from './progress-bar.ts'

const mebibyte = 1024 * 1024

/** The body of tsvmm.migration-progress. */
export function readMigrationProgress(body: unknown): Progress {
  const given = migrationProgressSchema.parse(body, seldomChecked)
  const { iteration = 0, bytes_done = 0, bytes_total = 0, bandwidth = 0, dirty_rate = 0, throttle = 0 } = given
  const perSecond = (bytes: number) => `${Math.round(bytes / mebibyte)} MiB/s`
  const parts = [
    `pass ${iteration}`,
    perSecond(bandwidth),
    `${perSecond(dirty_rate)} dirty`,
    ...(given.expected_downtime_ms === undefined ? [] : [`${Math.round(given.expected_downtime_ms)} ms down`]),
    ...(throttle === 0 ? [] : [`slowed ${throttle} %`]),
  ]
  return { done: bytes_done, total: bytes_total, detail: parts.join(', ') }
}
