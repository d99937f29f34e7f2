import type { ParavirtualClock } from '../hypervisor/hypervisor.ts'
import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { TsvmmError } from '../util/errors.ts'
import { clockState } from './virtual-machine-state.ts'

/** The hypervisor's part of a machine: memory, vCPU threads and the clock that it shows to guests. */
export interface HypervisorSide {
  readonly clock: ParavirtualClock
  /** Of the memory, in the order of its ranges, where all of it can be shared with another process. */
  readonly ramDescriptors: readonly number[] | undefined
  /** Joins the vCPUs' threads and unmaps the memory. */
  close(): void
}

/** The name of the component that has the RAM. */
export const ramComponent = 'vm'

/** When a machine was paused: in its own time and in the host's, milliseconds since 1970. */
interface PausedAt {
  readonly nowNs: bigint
  readonly hostMs: number
}

/** The clock as other clocks of the guest follow it, in nanoseconds of the host that never go backwards. */
export interface GuestTime {
  /** When it was stopped last, and went on last; 0 where it never was. */
  readonly stoppedAtNs: bigint
  readonly wentOnAtNs: bigint
  hostNs(): bigint
}

/**
 * First in the list, so resumed first, paused and closed last. A guest's clock stands still with it: what was paused for an
 * hour finds no hour missing, and no timer of it is overdue.
 */
export class VirtualMachineComponent implements Component, GuestTime {
  readonly name = ramComponent
  readonly state = saved({
    schema: clockState,
    save: () => this.#pausedAt ?? this.#readClock(),
    load: state => {
      this.#pausedAt = state
    },
  })
  readonly #vm: HypervisorSide
  readonly #hostMs: () => number
  readonly hostNs: () => bigint
  #pausedAt: PausedAt | undefined
  #stoppedAtNs = 0n
  #wentOnAtNs = 0n

  constructor(vm: HypervisorSide, hostMs = () => Date.now(), hostNs = () => process.hrtime.bigint()) {
    this.#vm = vm
    this.#hostMs = hostMs
    this.hostNs = hostNs
  }

  get stoppedAtNs(): bigint {
    return this.#stoppedAtNs
  }

  get wentOnAtNs(): bigint {
    return this.#wentOnAtNs
  }

  /**
   * Only while paused: the guest's clock goes on as if it had run all the time, which is so long, or as long as the clocks of the
   * hosts say. Returns what is skipped, in nanoseconds.
   */
  skipPause(pausedMs?: number): bigint {
    if (this.#pausedAt === undefined) return 0n
    const { nowNs, hostMs } = this.#pausedAt
    const now = this.#hostMs()
    // A host whose clock is behind gives nothing back: the guest's must not go backwards.
    const skippedNs = BigInt(Math.round(Math.max(0, pausedMs ?? now - hostMs) * 1_000_000))
    this.#pausedAt = { nowNs: nowNs + skippedNs, hostMs: now }
    return skippedNs
  }

  async pause(): Promise<void> {
    if (this.#pausedAt !== undefined) return
    this.#stoppedAtNs = this.hostNs()
    this.#pausedAt = this.#readClock()
  }

  resume(): void {
    if (this.#pausedAt === undefined) return
    this.#vm.clock.setNs(this.#pausedAt.nowNs)
    this.#wentOnAtNs = this.hostNs()
    this.#pausedAt = undefined
  }

  reset(): void {}

  handover(): readonly number[] {
    const fds = this.#vm.ramDescriptors
    if (fds !== undefined) return fds
    const reason = 'its memory cannot be handed over: that takes --memory shared=on'
    throw new TsvmmError('ERR_MIGRATION', { reason })
  }

  async close(): Promise<void> {
    this.#vm.close()
  }

  #readClock(): PausedAt {
    return { nowNs: this.#vm.clock.readNs(), hostMs: this.#hostMs() }
  }
}
