import type { EventEmitter } from 'node:events'
import type { VmConfig } from '../config/vm-config.ts'
import type { BuiltMachine } from '../machine/build.ts'
import type { CpuFingerprint } from '../machine/cpu-fingerprint.ts'
import type { MigrationProgress, MigrationReport } from '../migration/progress.ts'
import type { Lineage } from '../snapshot/lineage.ts'
import { TsvmmError } from '../util/errors.ts'
import type { ArrivingVm } from './arrival.ts'
import type { Departure, MigrationOptions } from './departure.ts'
import type { VmEvents } from './vm-events.ts'

/** What a machine lends to its moves. What changes it is carried out in its turn among all requests. */
export interface RelocatableVm {
  readonly events: EventEmitter<VmEvents>
  readonly machine: BuiltMachine
  readonly lineage: Lineage
  config(): VmConfig
  /** Throws ERR_VM_STATE where it has ended. */
  describeCpu(): Promise<CpuFingerprint>
  /** Calls it where the machine can be moved now; throws ERR_VM_STATE otherwise. */
  begin(action: () => void): Promise<void>
  /** It stands still from now on; throws ERR_VM_STATE where it has none to. Returns whether it did before. */
  leave(): Promise<boolean>
  /** One that is left goes on, or is paused. */
  stay(isPaused: boolean): Promise<void>
  /** Its memory is lost. */
  lose(error: TsvmmError): void
  /** Another host has it: it ends, or is paused. */
  end(isPreserved: boolean): Promise<void>
}

/** The moves of a machine from host to host, and whether this one has what only one machine may have. */
export class Relocation {
  readonly #vm: RelocatableVm
  /** While it is on its way to another host, and as long as it is in doubt whether it is there. */
  #departure: Departure | undefined
  /** Others may have what only one machine may have. */
  #isCeded: boolean
  /** Gives up the rest of its memory, as long as that is on its way here. */
  #abandonMemory: (() => void) | undefined

  constructor(vm: RelocatableVm, arrives: boolean) {
    this.#vm = vm
    this.#isCeded = arrives
  }

  get isUnderWay(): boolean {
    return this.#departure !== undefined
  }

  get progress(): MigrationProgress | undefined {
    return this.#departure?.progress
  }

  /** As Vm.sendMigration. */
  async send(url: string, options: MigrationOptions): Promise<MigrationReport> {
    this.requireWholeMemory()
    const { Departure } = await import('./departure.ts')
    const { events, ...vm } = this.#vm
    let isPaused = false
    const departure = new Departure(
      {
        ...{ config: vm.config(), machine: vm.machine, lineage: vm.lineage, describeCpu: () => vm.describeCpu() },
        leave: async () => {
          isPaused = await vm.leave()
          return isPaused
        },
        stay: () => vm.stay(isPaused),
        claim: () => this.claim(),
        cede: isHandedOver => this.#cede(isHandedOver),
        onStarted: () => {
          events.emit('migration-started')
          options.onStarted?.()
        },
        onProgress: progress => events.emit('migration-progress', progress),
        onDoubt: (id, reason) => events.emit('migration-in-doubt', id, reason),
      },
      url,
      options,
    )
    await vm.begin(() => {
      this.#departure = departure
    })
    try {
      const report = await departure.run(options)
      events.emit('migration-finished', report)
      await vm.end(options.preserve === true)
      return report
    } catch (error) {
      events.emit('migration-failed', error)
      throw error
    } finally {
      this.#departure = undefined
    }
  }

  /** Throws ERR_MIGRATION as long as the rest of its memory is on its way here. */
  requireWholeMemory(): void {
    if (this.#abandonMemory === undefined) return
    throw new TsvmmError('ERR_MIGRATION', { reason: 'the rest of its memory is on its way here still' })
  }

  /** Without effect once the other host may have the machine. */
  cancel(reason: unknown): void {
    this.#departure?.cancel(reason)
  }

  /** As Vm.resolveMigration. */
  async resolve(decision: 'keep' | 'discard'): Promise<void> {
    if (this.#departure === undefined) {
      throw new TsvmmError('ERR_VM_STATE', { operation: `${decision} it`, state: 'not in doubt' })
    }
    await this.#departure.decide(decision)
  }

  /** The machine has ended. */
  abandon(): void {
    this.#abandonMemory?.()
    this.#departure?.abandon(new TsvmmError('ERR_MIGRATION', { reason: 'the machine has ended' }))
  }

  /** What only one machine may have is this one's from now on. Throws where another one has it. */
  async claim(): Promise<void> {
    if (this.#isCeded) await this.#vm.machine.components.claim()
    this.#isCeded = false
  }

  async #cede(isHandedOver: boolean): Promise<void> {
    this.#isCeded = true
    await this.#vm.machine.components.cede(isHandedOver)
  }

  /** For the migration that brings it. */
  arriving(close: () => Promise<void>): Omit<ArrivingVm, 'vm'> {
    return {
      machine: this.#vm.machine,
      claim: () => this.claim(),
      own: isPaused => this.#vm.stay(isPaused),
      keep: descriptors => void this.#vm.events.once('exit', () => descriptors.close()),
      close,
      awaitMemory: abandon => {
        this.#abandonMemory = abandon
      },
      complete: () => {
        this.#abandonMemory = undefined
        this.#vm.events.emit('migration-completed')
      },
      lose: error => this.#vm.lose(error),
    }
  }
}
