import { parseVmConfig, type VmConfig } from '../config/vm-config.ts'
import type { BuiltMachine, MachineBuilder } from '../machine/build.ts'
import { atAnyTscRate } from '../machine/cpu-fingerprint.ts'
import { stateSchemas } from '../machine/state-schemas.ts'
import { formatMigrationAddress, parseMigrationAddress } from '../migration/addresses.ts'
import { MigrationDestination, type ReceiveOptions } from '../migration/destination.ts'
import type { ArrivingMachine } from '../migration/machines.ts'
import { ownSpeaker, type Speaker } from '../migration/negotiation.ts'
import { loadAll } from '../state/walk.ts'
import { TsvmmError } from '../util/errors.ts'
import type { Undecided } from './departure.ts'
import { type Overrides, withOverrides } from './overrides.ts'

export interface ArrivalOptions extends ReceiveOptions {
  /** What is other than on the host that it comes from. */
  readonly overrides?: Overrides
  /** As of a restore. */
  readonly tscRate?: 'keep' | 'host'
  /** What this side speaks; what this release does where absent. */
  readonly speaker?: Speaker
  /** Gives it up, as long as nobody has handed the machine over. */
  readonly signal?: AbortSignal
  /** Where it listens: with the port, where any would do. */
  readonly onListening?: (url: string) => void
  readonly onStarted?: (id: string) => void
  /** It is not known which side has the machine. */
  readonly onDoubt?: (undecided: Undecided, reason: string) => void
}

/** A machine that has been made for one that arrives, and what that does with it. */
export interface ArrivingVm {
  readonly machine: BuiltMachine
  claim(): Promise<void>
  /** It is this side's now: it goes on, or is paused. */
  own(isPaused: boolean): Promise<void>
  close(): Promise<void>
  /** It went on before all of its memory was there: `abandon` gives that up where it ends. */
  awaitMemory(abandon: () => void): void
  /** All of it is there. */
  complete(): void
  /** It never will be. */
  lose(error: TsvmmError): void
}

/** Makes it from a configuration, with that builder. */
type MakeVm<V extends ArrivingVm> = (
  config: VmConfig,
  building: (build: MachineBuilder) => MachineBuilder,
) => Promise<V>

/** Waits for a machine from another host. Throws ERR_MIGRATION_ADDRESS, ERR_MIGRATION, and the reason of the signal. */
export async function receiveMachine<V extends ArrivingVm>(
  url: string,
  options: ArrivalOptions,
  makeVm: MakeVm<V>,
): Promise<V> {
  const { signal, overrides = {}, tscRate, onListening, onStarted, onDoubt } = options
  signal?.throwIfAborted()
  let made: V | undefined
  const destination = new MigrationDestination<ArrivingMachine & { vm: V }>(
    parseMigrationAddress(url, 0),
    options.speaker ?? ownSpeaker(stateSchemas),
    async announced => {
      const config = parseVmConfig(withOverrides(announced.config, overrides))
      const cpu = tscRate === 'host' ? atAnyTscRate(announced.cpu) : announced.cpu
      made = await makeVm(config, build => arrivingBuilder(build, cpu))
      return arriving(made)
    },
    options,
    {
      onListening: address => onListening?.(formatMigrationAddress(address)),
      onStarted: id => onStarted?.(id),
      onLate: () => made?.awaitMemory(() => destination.abandon()),
      onComplete: () => made?.complete(),
      onLost: reason => {
        const what = `the rest of its memory never comes: ${reason}`
        made?.lose(new TsvmmError('ERR_VM_CRASHED', { reason: what }))
      },
      onDoubt: reason => onDoubt?.({ id: destination.id, decide: each => destination.decide(each) }, reason),
    },
  )
  const onAbort = () => destination.cancel(signal?.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    return (await destination.run()).vm
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

function arrivingBuilder(build: MachineBuilder, cpu: Parameters<typeof atAnyTscRate>[0]): MachineBuilder {
  return async (config, events, options) => {
    const machine = await build(config, events, { ...options, arrives: true, cpu })
    try {
      await machine.components.pause()
      return machine
    } catch (error) {
      await machine.components.close()
      throw error
    }
  }
}

function arriving<V extends ArrivingVm>(vm: V): ArrivingMachine & { vm: V } {
  const { machine } = vm
  return {
    ...{ vm, components: machine.components.components, ram: machine.ram },
    load: records => loadAll(machine.components.components, records),
    claim: () => vm.claim(),
    goOn: async (isPaused, pausedMs) => {
      machine.moved()
      machine.skipPause(pausedMs)
      await vm.own(isPaused)
    },
    discard: () => vm.close(),
  }
}
