import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { consecutive, Layout } from '../util/bytes.ts'
import { type SavedVmClock, vmClockState } from './vm-clock-state.ts'

/** struct vmclock_abi (Linux include/uapi/linux/vmclock-abi.h); what says nothing here stays zero. */
export const vmClockLayout = new Layout(112, {
  ...consecutive(['magic', 'size'], 4),
  version: { offset: 8, width: 2 },
  counterId: { offset: 10, width: 1 },
  timeType: { offset: 11, width: 1 },
  sequenceCount: { offset: 12, width: 4 },
  ...consecutive(['disruptionMarker', 'flags'], 8, 16),
  clockStatus: { offset: 34, width: 1 },
  generation: { offset: 104, width: 8 },
})

const magic = 0x4b4c_4356
const pageBytes = 0x1000
const noCounter = 0xff
const statusUnknown = 0
const flags = { generationPresent: 1 << 8, notificationPresent: 1 << 9 } as const
const sequenceCounts = 0x8000_0000

export interface VmClockOptions {
  /** Writes to the page that the firmware tables name. */
  write(bytes: Uint8Array): void
  /** Tells the guest that it has changed. */
  notify(): void
}

/**
 * The VM clock: a structure in the guest's memory that says when its counter was disrupted and when it goes on from a saved
 * state. It claims no time: the host does not know how exact its own is. The guest stands still whenever it changes, so
 * that nobody sees it half-way.
 */
export class VmClock implements Component {
  readonly name = '__vm_clock'
  readonly state = saved({
    schema: vmClockState,
    save: () => ({ ...this.#state }),
    load: state => {
      this.#state = { ...state }
    },
  })
  readonly #options: VmClockOptions
  #state: SavedVmClock = { updates: 0, disruptionMarker: 0n, generation: 0n }

  constructor(options: VmClockOptions) {
    this.#options = options
  }

  /** Into memory that was cleared. */
  place(): void {
    const { updates, disruptionMarker, generation } = this.#state
    this.#options.write(
      vmClockLayout.encode({
        ...{ magic, size: pageBytes, version: 1, counterId: noCounter, clockStatus: statusUnknown },
        flags: flags.generationPresent | flags.notificationPresent,
        ...{ sequenceCount: updates * 2, disruptionMarker, generation },
      }),
    )
  }

  /** Only while paused: time has passed that the guest's counter has not counted; with a new generation also in its life. */
  disrupt({ isNewGeneration }: { readonly isNewGeneration: boolean }): void {
    const { updates, disruptionMarker, generation } = this.#state
    this.#state = {
      updates: (updates + 1) % sequenceCounts,
      disruptionMarker: BigInt.asUintN(64, disruptionMarker + 1n),
      generation: isNewGeneration ? BigInt.asUintN(64, generation + 1n) : generation,
    }
    this.place()
    this.#options.notify()
  }

  async pause(): Promise<void> {}
  resume(): void {}
  reset(): void {}
  async close(): Promise<void> {}
}
