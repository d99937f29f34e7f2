import type { EventEmitter } from 'node:events'
import type { VmConfig } from '../config/vm-config.ts'
import type { BuiltMachine } from '../machine/build.ts'
import type { Lineage } from '../snapshot/lineage.ts'
import type { LiveReport } from '../snapshot/live.ts'
import type { SnapshotProgress } from '../snapshot/progress.ts'
import type { SnapshotOptions } from '../snapshot/write.ts'
import type { SnapshotReport, VmEvents } from './vm-events.ts'

/** What a machine lends to being saved. */
export interface SavableVm {
  readonly events: EventEmitter<VmEvents>
  readonly machine: BuiltMachine
  readonly lineage: Lineage
  /** Aborted, with the reason, when its memory is lost. */
  readonly loss: AbortSignal
  config(): VmConfig
  isRunning(): boolean
  /** One that runs stands still meanwhile. */
  whilePaused<T>(action: () => Promise<T>): Promise<T>
}

/** Saves a machine into directories, one at a time. */
export class Saving {
  readonly #vm: SavableVm
  #progress: SnapshotProgress | undefined

  constructor(vm: SavableVm) {
    this.#vm = vm
  }

  get progress(): SnapshotProgress | undefined {
    return this.#progress
  }

  /** As Vm.snapshot. `meanwhile` runs when all is saved that must be saved while the machine stands still, before it goes on. */
  async save(path: string, options: SnapshotOptions, meanwhile: () => Promise<void>): Promise<void> {
    // Loaded where it is needed: a boot does without it.
    const { saveMachine } = await import('../snapshot/save.ts')
    const { events, machine, lineage, loss } = this.#vm
    events.emit('snapshotting')
    let report: SnapshotReport = {}
    const source = {
      ...{ components: machine.components.components, ram: machine.ram, lineage },
      describeConfig: () => this.#vm.config(),
      describeCpu: () => machine.describeCpu(),
      onProgress: (progress: SnapshotProgress) => this.#tell(progress),
      onLive: (live: LiveReport) => {
        report = { ...report, live }
      },
      whilePaused: async <T>(action: () => Promise<T>) => {
        const [runs, start] = [this.#vm.isRunning(), performance.now()]
        const result = await this.#vm.whilePaused(async () => {
          const saved = await action()
          await meanwhile()
          return saved
        })
        if (runs) report = { ...report, pausedMs: performance.now() - start }
        return result
      },
    }
    const signal = options.signal === undefined ? loss : AbortSignal.any([options.signal, loss])
    try {
      await saveMachine(source, path, { ...options, signal })
    } finally {
      this.#progress = undefined
    }
    events.emit('snapshotted', report)
  }

  #tell(progress: SnapshotProgress): void {
    this.#progress = progress
    this.#vm.events.emit('snapshot-progress', progress)
  }
}
