import type { VmConfig } from '../config/vm-config.ts'
import type { BuiltMachine } from '../machine/build.ts'
import type { CpuFingerprint } from '../machine/cpu-fingerprint.ts'
import { stateSchemas } from '../machine/state-schemas.ts'
import { parseMigrationAddress } from '../migration/addresses.ts'
import { migrationError } from '../migration/error.ts'
import type { DepartingMachine } from '../migration/machines.ts'
import { ownSpeaker, type Speaker } from '../migration/negotiation.ts'
import type { MigrationProgress, MigrationReport } from '../migration/progress.ts'
import { checkSendOptions, type SendOptions } from '../migration/send-options.ts'
import { MigrationSource } from '../migration/source.ts'
import type { Lineage } from '../snapshot/lineage.ts'

export interface MigrationOptions extends SendOptions {
  /** It stays here, paused, once the destination has it; it can go on only when that has ended. */
  readonly preserve?: boolean
  /** The other host takes it, and its memory is on its way. */
  readonly onStarted?: () => void
  /** What this side speaks; what this release does where absent. */
  readonly speaker?: Speaker
}

/** A side of a migration that a person can decide for, where it is in doubt which side has the machine. */
export interface Undecided {
  readonly id: string
  decide(decision: 'keep' | 'discard'): Promise<void>
}

/** What a machine lends to its migration. */
export interface DepartingVm {
  readonly config: VmConfig
  readonly machine: BuiltMachine
  readonly lineage: Lineage
  describeCpu(): Promise<CpuFingerprint>
  /** Whether it was paused. */
  leave(): Promise<boolean>
  stay(): Promise<void>
  claim(): Promise<void>
  cede(isHandedOver: boolean): Promise<void>
  onStarted(): void
  onProgress(progress: MigrationProgress): void
  onDoubt(id: string, reason: string): void
}

/** A machine on its way to another host. */
export class Departure implements Undecided {
  readonly #source: MigrationSource

  /** Throws ERR_MIGRATION_ADDRESS, and ERR_MIGRATION for options that do not go together. */
  constructor(vm: DepartingVm, url: string, { speaker = ownSpeaker(stateSchemas), ...options }: MigrationOptions) {
    const { machine } = vm
    const departing: DepartingMachine = {
      ...{ config: vm.config, components: machine.components.components, ram: machine.ram, lineage: vm.lineage },
      describeCpu: () => vm.describeCpu(),
      throttle: percent => machine.throttle(percent),
      leave: () => vm.leave(),
      stay: () => vm.stay(),
      claim: () => vm.claim(),
      cede: isHandedOver => vm.cede(isHandedOver),
      handover: () => machine.components.handover(),
    }
    const address = parseMigrationAddress(url)
    checkSendOptions(address, options)
    if (options.isLocal === true && options.preserve === true) {
      throw migrationError('local: the other side has its memory then, and nothing can be preserved here')
    }
    this.#source = new MigrationSource(departing, address, speaker, options, {
      onStarted: () => vm.onStarted(),
      onProgress: progress => vm.onProgress(progress),
      onDoubt: reason => vm.onDoubt(this.id, reason),
    })
  }

  get id(): string {
    return this.#source.id
  }

  get progress(): MigrationProgress {
    return this.#source.progress
  }

  async run({ signal }: SendOptions): Promise<MigrationReport> {
    signal?.throwIfAborted()
    const onAbort = () => this.cancel(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      return await this.#source.run()
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Without effect once the destination may have the machine. */
  cancel(reason: unknown): void {
    this.#source.cancel(reason)
  }

  /** The machine is gone here, wherever it may be. */
  abandon(reason: unknown): void {
    this.#source.abandon(reason)
  }

  decide(decision: 'keep' | 'discard'): Promise<void> {
    return this.#source.decide(decision)
  }
}
