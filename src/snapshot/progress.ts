import { imagePageBytes, type RamImageProgress } from '../memory/ram-image.ts'

/** How much of the memory is saved; of a machine that is saved as it runs, of the round. */
export interface SnapshotProgress {
  readonly bytesDone: number
  readonly bytesTotal: number
  /** Without what is zero, and compressed where that is asked for. */
  readonly bytesWritten: number
}

/** Often enough for who looks at it, seldom enough for a log. */
const periodMs = 250

/** Tells how far a snapshot has come, again and again until it is disposed of, and then once more. */
export function watch(
  writer: { progress(): RamImageProgress },
  onProgress: (progress: SnapshotProgress) => void,
): Disposable {
  const tell = () => {
    const { pagesDone, pagesTotal, bytesWritten } = writer.progress()
    onProgress({ bytesDone: pagesDone * imagePageBytes, bytesTotal: pagesTotal * imagePageBytes, bytesWritten })
  }
  const timer = setInterval(tell, periodMs)
  timer.unref()
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer)
      tell()
    },
  }
}
