import type { ParavirtualClock } from '../hypervisor/hypervisor.ts'
import type { Component } from '../state/component.ts'

/** The hypervisor's part of a machine: memory, vCPU threads and the clock that it shows to guests. */
export interface HypervisorSide {
  readonly clock: ParavirtualClock
  /** Joins the vCPUs' threads and unmaps the memory. */
  close(): void
}

/**
 * First in the list, so resumed first, paused and closed last. A guest's clock stands still with it: what was paused for an
 * hour finds no hour missing, and no timer of it is overdue.
 */
export class VirtualMachineComponent implements Component {
  readonly name = 'vm'
  readonly #vm: HypervisorSide
  #pausedAtNs: bigint | undefined

  constructor(vm: HypervisorSide) {
    this.#vm = vm
  }

  async pause(): Promise<void> {
    this.#pausedAtNs ??= this.#vm.clock.readNs()
  }

  resume(): void {
    if (this.#pausedAtNs !== undefined) this.#vm.clock.setNs(this.#pausedAtNs)
    this.#pausedAtNs = undefined
  }

  reset(): void {}

  async close(): Promise<void> {
    this.#vm.close()
  }
}
