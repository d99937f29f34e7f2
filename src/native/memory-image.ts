import type { MappingOptions, NativeGuestMemory, NativeMapping } from './addon.ts'

/*
 * Memory images: the guest's RAM in files. Image space is the RAM ranges one after the other, ascending by guest address;
 * page n is its 4096 bytes from n * 4096 on. native/memory/image_index.h describes the formats.
 */

export interface MemoryImageWriterOptions {
  /** The ranges that it has now. */
  readonly memory: NativeGuestMemory
  /** A regular file, emptied. Duplicated; stays the caller's, who also syncs it. */
  readonly fd: number
  /** `image`: a sparse file, page n at n * 4096, zero pages are holes. `zstd`: compressed frames of 256 pages. */
  readonly form: 'image' | 'zstd'
  /** zstd: -7 to 19. */
  readonly level: number
  /** 1 to 64. */
  readonly threads: number
  /**
   * The file becomes a layer on top of these: pages that are as they have them are left out, with EBADMSG where they are not
   * what was written. EINVAL where they are of other RAM.
   */
  readonly base?: NativeMemoryImage
  /**
   * What `memory` shows of a memory image (`map`), or is supplied with from one, is in `base` as it is there: pages that
   * nobody wrote since are left out unseen.
   */
  readonly baseIsShown?: boolean
}

/** Of the work that runs, or of the last one. */
export interface MemoryImageProgress {
  readonly pagesDone: number
  readonly pagesTotal: number
  /** Of pages that are not zero, before compression; where loading, into memory. */
  readonly bytesWritten: number
}

/** EBUSY while a write runs: another one, `freeze` and `index`. */
export interface NativeMemoryImageWriter {
  /**
   * One pass: writes the pages whose bit is set in `present` (copied; little-endian, as many whole bytes or 64-bit words as
   * the pages need, RangeError else), all where absent. A later pass replaces what earlier ones wrote of these pages. After
   * a failure the pages of the failed pass must be written again.
   */
  write(present?: Uint8Array): Promise<void>
  /**
   * Before `freeze`, while the guest may run: sets the memory up for userfaultfd's write protection. EOPNOTSUPP where the memory
   * (a private file mapping, huge pages, KSM) or the kernel has none, EPERM where the host does not allow it, EBUSY where
   * another userfaultfd has the memory.
   */
  prepareFreeze(): void
  /**
   * Called while nobody writes the memory, once after prepareFreeze(), EINVAL else: a pass, of the pages as they are at that
   * moment, also of those that are written as soon as it has returned. Whoever writes a page waits until that has been copied
   * by threads that need neither this one nor libuv's. However the pass ends, nobody waits any longer than that. Meanwhile
   * no mapping may be discarded.
   */
  freeze(present?: Uint8Array): Promise<void>
  progress(): MemoryImageProgress
  /** The running write rejects with ECANCELED soon. */
  cancel(): void
  /** The index of all passes together. */
  index(): Uint8Array<ArrayBuffer>
  /** Cancels what runs. */
  close(): void
}

export interface MemoryLayer {
  /** The memory file. Duplicated; its offset moves. Nobody may write or cut it while a mapping of it lives. */
  readonly fd: number
  readonly index: Uint8Array
}

export type MemoryImageMapOptions = Pick<MappingOptions, 'mergeable' | 'prefault' | 'thp' | 'reserve' | 'hostNumaNode'>

/** One work at a time; another one rejects with EBUSY. */
export interface NativeMemoryImage {
  readonly pages: number
  /**
   * Copies all into memory that is still zero. EINVAL where that is not as large as the image; EBADMSG, with layer (0 the
   * newest) and page, where the file is not what was written or no layer has the page.
   */
  load(memory: NativeGuestMemory, threads: number): Promise<void>
  /**
   * Reads all of every layer and checks it, also that a file of form `image` is zero where no page of data is, as `map` shows
   * that; EBADMSG as `load`. A lone incremental layer can be checked, too.
   */
  verify(threads: number): Promise<void>
  /**
   * A private copy-on-write mapping of the pages [firstPage, firstPage + pages) of the chain, normal pages only; checksums
   * are not looked at. EINVAL where a layer is of another form than `image`.
   */
  map(firstPage: number, pages: number, options?: MemoryImageMapOptions): NativeMapping
  /** Pages of the newest layer: that it has, and of these the ones that are not zero. */
  counts(): { readonly present: number; readonly data: number }
  progress(): MemoryImageProgress
  /** The running work rejects with ECANCELED soon. */
  cancel(): void
  /** Cancels what runs. Mappings live on. */
  close(): void
}
