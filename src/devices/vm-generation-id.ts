import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { randomBytes } from '../util/random.ts'
import { vmGenerationIdState } from './vm-generation-id-state.ts'

const idBytes = 16

export interface VmGenerationIdOptions {
  /** Writes to where the firmware tables say that it is. */
  write(bytes: Uint8Array): void
  /** Tells the guest that it has changed. */
  notify(): void
  random?(lengthBytes: number): Uint8Array
}

/**
 * The Virtual Machine Generation ID: 16 bytes in the guest's memory that are others whenever its execution goes on from a
 * point that something may have gone on from before: a restore, a clone; not a pause, a reboot or a move. Guests reseed
 * what must never be there twice. What they do to the bytes is their own business: the next ones do not depend on them.
 */
export class VmGenerationId implements Component {
  readonly name = '__vm_generation_id'
  readonly state = saved({
    schema: vmGenerationIdState,
    save: () => ({ id: this.#id }),
    load: ({ id }) => {
      this.#id = id
    },
  })
  readonly #options: VmGenerationIdOptions
  readonly #random: (lengthBytes: number) => Uint8Array
  #id: Uint8Array

  constructor(options: VmGenerationIdOptions) {
    this.#options = options
    this.#random = options.random ?? randomBytes
    this.#id = this.#random(idBytes)
  }

  /** Into memory that was cleared. */
  place(): void {
    this.#options.write(this.#id)
  }

  /** Only while paused: the guest is told before it goes on. */
  renew(): void {
    this.#id = this.#random(idBytes)
    this.place()
    this.#options.notify()
  }

  async pause(): Promise<void> {}
  resume(): void {}
  reset(): void {}
  async close(): Promise<void> {}
}
