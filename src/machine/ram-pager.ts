import { stateless } from '../state/carried.ts'
import type { Component } from '../state/component.ts'

/** What brings in the pages of RAM that a machine touches. */
export interface Pager {
  close(): void
}

/** Before the virtual machine in the list, so closed behind it: until then somebody may wait for a page. */
export class RamPagerComponent implements Component {
  readonly name = '_ram-pager'
  /** What it has not brought in yet is saved with the memory. */
  readonly state = stateless
  readonly #pager: Pager

  constructor(pager: Pager) {
    this.#pager = pager
  }

  /** Whoever saves a paused machine touches its memory. */
  async pause(): Promise<void> {}

  resume(): void {}

  /** Memory that is given back is zero. */
  reset(): void {}

  async close(): Promise<void> {
    this.#pager.close()
  }
}
