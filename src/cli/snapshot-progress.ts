import { snapshotProgressSchema } from '../api/schemas.ts'
import type { SnapshotProgress } from '../snapshot/progress.ts'
import { seldomChecked } from '../util/issues.ts'
import type { Progress } from './progress-bar.ts'

/** The body of tsvmm.snapshot-progress. */
export function readSnapshotProgress(body: unknown): Progress {
  const { bytes_done, bytes_total, bytes_written } = snapshotProgressSchema.parse(body, seldomChecked)
  return describeProgress({
    bytesDone: bytes_done ?? 0,
    bytesTotal: bytes_total ?? 0,
    bytesWritten: bytes_written ?? 0,
  })
}

export function describeProgress({ bytesDone, bytesTotal, bytesWritten }: SnapshotProgress): Progress {
  const [total, written] = [bytesTotal, bytesWritten].map(bytes => Math.floor(bytes / mebibyte))
  return { done: bytesDone, total: bytesTotal, detail: `of ${total} MiB, ${written} MiB written` }
}

const mebibyte = 1024 * 1024
