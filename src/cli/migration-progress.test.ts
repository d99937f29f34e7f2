import test from 'ava'
import { readMigrationProgress } from './migration-progress.ts'

test('what is known of a migration is told beside its bar', t => {
  const mebibyte = 1024 * 1024
  const body = {
    ...{ id: '00', phase: 'copying', iteration: 2, elapsed_ms: 100, bytes_done: 5, bytes_total: 10, bytes_sent: 1 },
    ...{ bandwidth: 100.4 * mebibyte, dirty_rate: 7 * mebibyte, throttle: 0 },
  }
  const told = { done: 5, total: 10, detail: 'pass 2, 100 MiB/s, 7 MiB/s dirty' }
  t.deepEqual(readMigrationProgress(body), told)
  const later = { ...body, expected_downtime_ms: 123.4, throttle: 30 }
  t.is(readMigrationProgress(later).detail, `${told.detail}, 123 ms down, slowed 30 %`)
  t.is(readMigrationProgress({}).total, 0)
})
