import { setTimeout } from 'node:timers/promises'
import { snapshotProgressSchema } from '../api/schemas.ts'
import type { SnapshotProgress } from '../snapshot/progress.ts'
import { seldomChecked } from '../util/issues.ts'
import { type Progress, ProgressBar } from './progress-bar.ts'

const pollMs = 250

/** Until `answer` is there, shows what `ask` answers: the body of tsvmm.snapshot-progress. It is not missed where it fails. */
export async function showSnapshotProgress<T>(
  answer: Promise<T>,
  ask: () => Promise<string>,
  bar = new ProgressBar('saving'),
): Promise<T> {
  using shown = bar
  const over = new AbortController()
  const watching = watch(ask, shown, over.signal)
  try {
    return await answer
  } finally {
    over.abort()
    await watching
  }
}

async function watch(ask: () => Promise<string>, bar: ProgressBar, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    const progress = await ask()
      .then(read)
      .catch(() => undefined)
    if (progress !== undefined && !over.aborted) bar.show(progress)
    await setTimeout(pollMs, undefined, { signal: over }).catch(() => {})
  }
}

function read(text: string): Progress {
  const { bytes_done, bytes_total, bytes_written } = snapshotProgressSchema.parse(JSON.parse(text), seldomChecked)
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
