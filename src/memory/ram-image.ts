/**
 * The guest's RAM in files. Image space is all RAM ranges one after the other, ascending by guest address; image page n has
 * the 4096 bytes from n * 4096 on. Bitmaps have a bit a page, little-endian, in whole 64-bit words.
 */

export const imagePageBytes = 4096

type Sizes = readonly { readonly sizeBytes: number }[]

/** Of all ranges of RAM together. */
export function ramBytesOf(ranges: Sizes): number {
  return ranges.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}

export function imagePagesOf(ranges: Sizes): number {
  return ramBytesOf(ranges) / imagePageBytes
}

/** `image`: a sparse file, page n at n * 4096; `zstd`: compressed frames. An index says what is where. */
export type RamImageForm = 'image' | 'zstd'

export interface RamImageProgress {
  readonly pagesDone: number
  readonly pagesTotal: number
  readonly bytesWritten: number
}

export interface RamImageWriterOptions {
  /** An empty file, which stays the caller's. */
  readonly fd: number
  readonly form: RamImageForm
  /** zstd's, -7 to 19. */
  readonly level: number
  readonly threads: number
  /** What is as there is left out. */
  readonly base?: RamImageBase | undefined
}

/** Of an image that is only what differs. */
export interface RamImageBase {
  /** Newest first; they may be closed once the writer is there. */
  readonly layers: readonly RamImageLayer[]
  /** RAM is a mapping of a part of them, or supplied from it: what nobody wrote is as there, and not looked at. */
  readonly isShown: boolean
}

/** Writes RAM into a file in one or several passes, none of them on this thread. */
export interface RamImageWriter {
  /** The pages of `present`, all where absent. The guest may run. Rejects with the code of what the file system said, ECANCELED after cancel(). */
  write(present?: Uint8Array): Promise<void>
  /** Before freeze(), while the guest may run. Throws EOPNOTSUPP, EPERM or EBUSY where this memory or this host has no such thing. */
  prepareFreeze(): void
  /**
   * As write(), of the pages as they are at the moment of the call, when nobody may be writing them; once it has returned the
   * guest may run: its writes wait until what they overwrite has been copied. Once after each prepareFreeze().
   */
  freeze(present?: Uint8Array): Promise<void>
  progress(): RamImageProgress
  cancel(): void
  /** Of all passes together. */
  index(): Uint8Array<ArrayBuffer>
  close(): void
}

/** A layer that has been read in: its file and its index. */
export interface RamImageLayer {
  readonly fd: number
  readonly index: Uint8Array
}

/**
 * `cow`: RAM is a private mapping of the images, whose pages are read as they are touched; `copy`: all is read first;
 * `ondemand`: pages come when they are touched, each checked (RamPager).
 */
export type RamRestoreMode = 'cow' | 'copy' | 'ondemand'

/** How RAM is restored on demand. */
export interface PagingOptions {
  /** Image pages to bring in first, in this order. */
  readonly prefetch?: Uint32Array | undefined
  /** All the rest is brought in behind the guest's back. */
  readonly fills?: boolean
  /** The socket of another process that serves the pages, over Firecracker's protocol for page fault handlers. */
  readonly handlerSocket?: string | undefined
}
