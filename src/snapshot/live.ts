import { countPages } from '../memory/page-bitmap.ts'
import { imagePageBytes } from '../memory/ram-image.ts'
import type { Lineage } from './lineage.ts'
import type { SnapshotWriter } from './write.ts'

/**
 * How a machine was saved while it ran: in `rounds`, each of what it wrote during the one before. What was left was saved while
 * it was paused or, where that was much, `frozen`: write-protected at that instant and written behind its back. `reason` says
 * why that could not be.
 */
export interface LiveReport {
  readonly rounds: number
  readonly rest: 'paused' | 'frozen'
  readonly reason?: string
}

interface Rounds {
  readonly rounds: number
  /** The pages that were written during the last one. */
  readonly left: Uint8Array
  /** They are so few that saving them is a matter of milliseconds. */
  readonly areFew: boolean
}

/** What is written within a few milliseconds: 4 MiB. */
const defaultPauseLimit = 4 * 1024 * 1024
/** A guest that writes nearly as fast as its memory is saved gets no more rounds than this. */
const mostRounds = 30
/** A round that leaves more than this share of what it wrote has met such a guest. */
const shrinkingShare = 0.9

/**
 * Writes RAM while the machine runs, round by round what was written during the last one, until little is left or it grows
 * no smaller. `first` has the pages of the first round, all where it is absent; less than `pauseLimit` bytes are little. Throws
 * ERR_SNAPSHOT, and ERR_HYPERVISOR where writes cannot be tracked.
 */
export async function writeWhileRunning(
  writer: Pick<SnapshotWriter, 'writeRam'>,
  lineage: Pick<Lineage, 'track' | 'pages'>,
  first?: Uint8Array,
  pauseLimit = defaultPauseLimit,
): Promise<Rounds> {
  lineage.track()
  await writer.writeRam(first)
  let left = lineage.pages()
  let before = Number.POSITIVE_INFINITY
  for (let rounds = 1; ; rounds += 1) {
    const pages = countPages(left)
    const areFew = pages * imagePageBytes < pauseLimit
    if (areFew || rounds === mostRounds || pages >= before * shrinkingShare) return { rounds, left, areFew }
    before = pages
    await writer.writeRam(left)
    left = lineage.pages()
  }
}
