import type { ParavirtualClock } from '../hypervisor/hypervisor.ts'
import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { clockState } from './virtual-machine-state.ts'

/** The hypervisor's part of a machine: memory, vCPU threads and the clock that it shows to guests. */
export interface HypervisorSide {
  readonly clock: ParavirtualClock
  /** Joins the vCPUs' threads and unmaps the memory. */
  close(): void
}

/** When a machine was paused: in its own time and in the host's, milliseconds since 1970. */
interface PausedAt {
  readonly nowNs: bigint
  readonly hostMs: number
}

/**
 * First in the list, so resumed first, paused and closed last. A guest's clock stands still with it: what was paused for an
 * hour finds no hour missing, and no timer of it is overdue.
 */
export class VirtualMachineComponent implements Component {
  readonly name = 'vm'
  readonly state = saved({
    schema: clockState,
    save: () => this.#pausedAt ?? this.#readClock(),
    load: state => {
      this.#pausedAt = state
    },
  })
  readonly #vm: HypervisorSide
  readonly #hostMs: () => number
  #pausedAt: PausedAt | undefined

  constructor(vm: HypervisorSide, hostMs = () => Date.now()) {
    this.#vm = vm
    this.#hostMs = hostMs
  }

  /** Only while paused: the guest's clock goes on as if it had run all the time. */
  skipPause(): void {
    if (this.#pausedAt === undefined) return
    const { nowNs, hostMs } = this.#pausedAt
    const now = this.#hostMs()
    // A host whose clock is behind gives nothing back: the guest's must not go backwards.
    this.#pausedAt = { nowNs: nowNs + BigInt(Math.max(0, now - hostMs)) * 1_000_000n, hostMs: now }
  }

  async pause(): Promise<void> {
    this.#pausedAt ??= this.#readClock()
  }

  resume(): void {
    if (this.#pausedAt !== undefined) this.#vm.clock.setNs(this.#pausedAt.nowNs)
    this.#pausedAt = undefined
  }

  reset(): void {}

  async close(): Promise<void> {
    this.#vm.close()
  }

  #readClock(): PausedAt {
    return { nowNs: this.#vm.clock.readNs(), hostMs: this.#hostMs() }
  }
}
