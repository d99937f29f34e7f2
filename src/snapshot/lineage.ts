import type { DirtyPages } from '../machine/build.ts'

/** Of a machine: from which snapshot its memory came, and what is known of what was written since the last one. */
export class Lineage {
  /** Id of the snapshot that its memory is a mapping of, or is supplied from as it is touched. */
  readonly shown: string | undefined
  readonly #dirtyPages: DirtyPages
  /** Id of the snapshot since which writes are tracked. */
  #trackedSince: string | undefined

  constructor(dirtyPages: DirtyPages, shown?: string) {
    this.#dirtyPages = dirtyPages
    this.shown = shown
  }

  /**
   * Which pages were written since the snapshot `parent`; undefined where that is not known, as without a parent. Nobody else
   * has them any more: where they are not saved forget() must follow.
   */
  take(parent: string | undefined): Uint8Array | undefined {
    if (!this.#dirtyPages.isTracking) return undefined
    const pages = this.#dirtyPages.take()
    const isKnown = parent !== undefined && this.#trackedSince === parent
    this.#trackedSince = undefined
    return isKnown ? pages : undefined
  }

  /** Tracks, so that pages() has what was written from now on; where the hypervisor cannot, it throws ERR_HYPERVISOR. */
  track(): void {
    if (!this.#dirtyPages.isTracking) this.#dirtyPages.start()
  }

  /** As track(); where the hypervisor cannot, the next snapshot looks at all pages. */
  tryToTrack(): void {
    try {
      this.track()
    } catch {
      this.forget()
    }
  }

  /** While it is tracked: what was written since the last call, take() or track(). */
  pages(): Uint8Array {
    return this.#dirtyPages.take()
  }

  /** What has been tracked since the last of these is what was written since the snapshot `id`. */
  continueFrom(id: string): void {
    if (this.#dirtyPages.isTracking) this.#trackedSince = id
  }

  /** The next snapshot looks at all pages. */
  forget(): void {
    this.#trackedSince = undefined
    this.#dirtyPages.stop()
  }
}
