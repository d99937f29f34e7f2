import type { Lineage } from './lineage.ts'
import type { SnapshotWriter } from './write.ts'

/** What is written within a few milliseconds: with no more left than this the machine is paused. */
const fewPages = 1024
/** A guest that writes faster than its memory is saved is paused after so many rounds, whatever is left. */
const mostRounds = 30
/** A round that leaves more than this share of what it wrote has met such a guest. */
const shrinkingShare = 0.9

/**
 * Writes RAM while the machine runs, round by round what was written during the last one, until little is left or it grows
 * no smaller. What is left is in `lineage.pages()`, to be written while the machine is paused. `first` has the pages of the
 * first round, all where it is absent. Throws ERR_SNAPSHOT, and ERR_HYPERVISOR where writes cannot be tracked.
 */
export async function writeWhileRunning(
  writer: SnapshotWriter,
  lineage: Lineage,
  first?: Uint8Array,
): Promise<Uint8Array> {
  lineage.track()
  await writer.writeRam(first)
  let left = lineage.pages()
  let before = Number.POSITIVE_INFINITY
  for (let round = 1; round < mostRounds; round += 1) {
    const pages = countPages(left)
    if (pages <= fewPages || pages > before * shrinkingShare) break
    before = pages
    await writer.writeRam(left)
    left = lineage.pages()
  }
  return left
}

/** Of a bitmap in whole 64-bit words. */
export function countPages(bitmap: Uint8Array): number {
  let pages = 0
  for (let byte of bitmap) for (; byte !== 0; byte &= byte - 1) pages += 1
  return pages
}

/** Both bitmaps as one; they are of the same memory. */
export function union(left: Uint8Array, right: Uint8Array): Uint8Array {
  return left.map((byte, index) => byte | (right[index] ?? 0))
}
