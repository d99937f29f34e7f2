import type { NativeGuestMemory } from './addon.ts'
import type { NativeMemoryImage } from './memory-image.ts'

/** A raw image: the RAM ranges of the machine, ascending, one behind the other. `fd` is duplicated. */
export interface RawImage {
  readonly fd: number
  readonly fileOffset?: number
}

export interface LazyMemoryOptions {
  /** Memory of no file on a disk (EINVAL), untouched so far: what is present already stays as it is. */
  readonly memory: NativeGuestMemory
  /**
   * Pages cannot be had any more; told once. Whoever touches such a page waits until `abandon()`, but at most 5 seconds, so
   * that the machine can be stopped first. Only the thread of this environment does not wait: it reads zeroes.
   *
   * Do not await `park()` or `stop()` before `abandon()`: a vCPU that waits inside an instruction that KVM emulates, and an
   * engine, cannot be interrupted. A vCPU that was told to park goes no further than the access that it waits for; an engine
   * may write zeroes to a disk. Only the end of the process spares it that: who waits then is killed as he waits.
   */
  onFailure(reason: string): void
}

export interface PageServerOptions extends LazyMemoryOptions {
  /**
   * Where the pages are, each checked against its checksum: EBADMSG where one is in no layer, EINVAL (start) where it is of
   * other memory. Who saves the memory before all of it is there finds these pages in it. May be closed afterwards. Also
   * where another process serves them: it says what they are.
   */
  readonly image?: NativeMemoryImage
  /** Where there is no image. Absent where another process serves the pages. */
  readonly source?: RawImage
  /**
   * The socket of a page fault handler (Firecracker's protocol), which then serves all pages; `onFailure` tells of its end.
   */
  readonly handlerSocket?: string
  /** Image pages (of 4 KiB) to bring in first, in this order. What is no page of the image is passed over. */
  readonly prefetch?: Uint32Array
  /** How many faults are served at a time: 1 to 16; 2 where absent. */
  readonly threads?: number
}

export interface PageServerCounters {
  readonly faults: bigint
  /** Image pages that faults brought in, with their neighbours. */
  readonly pagesServed: bigint
  readonly pagesPrefetched: bigint
  readonly pagesFilled: bigint
  /** Neither brought in yet nor known to be zero. */
  readonly pagesMissing: bigint
}

/**
 * Restores guest memory on demand, by userfaultfd. Its threads need no JavaScript: also a thread that is in the middle of a
 * call of the addon may wait for a page. Memory that is given back to the host (balloon, reboot) is zero afterwards.
 *
 * With `handlerSocket`, all but `start`, `abandon` and `close` throws.
 */
export interface NativePageServer {
  /**
   * From now on every touch is served. EPERM where the host allows no userfaultfd, EBUSY where the memory has a server,
   * EOPNOTSUPP for pages of 1 GiB; ENOENT or ECONNREFUSED where no handler listens.
   */
  start(): void
  /**
   * Brings in all the rest; 0 bytes a second: as fast as can be. Resolves to true when everything is there: the server has
   * ended then, and the memory is like any other. False where it was cancelled, failed (`onFailure` says why), or the
   * server was abandoned or closed. EBUSY while another one is under way.
   */
  fill(bytesPerSecond?: number): Promise<boolean>
  cancelFill(): void
  /** The image pages that were missing when they were touched, in that order; the first million. */
  recorded(): Uint32Array<ArrayBuffer>
  counters(): PageServerCounters
  /** Nobody waits any more: whatever is missing is zero from now on. Only when the machine is given up. */
  abandon(): void
  /** Likewise, and ends the threads: once nobody uses the memory any more, or after a fill. */
  close(): void
}
