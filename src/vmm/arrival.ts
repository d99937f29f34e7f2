import { parseVmConfig, type VmConfig } from '../config/vm-config.ts'
import type { BuiltMachine, MachineBuilder } from '../machine/build.ts'
import { atAnyTscRate } from '../machine/cpu-fingerprint.ts'
import type { HandedOver } from '../machine/handover.native.ts'
import { stateSchemas } from '../machine/state-schemas.ts'
import { formatMigrationAddress, parseMigrationAddress } from '../migration/addresses.ts'
import { MigrationDestination, type ReceiveOptions } from '../migration/destination.ts'
import { migrationError } from '../migration/error.ts'
import type { AnnouncedMachine, ArrivingMachine } from '../migration/machines.ts'
import { ownSpeaker, type Speaker } from '../migration/negotiation.ts'
import { loadAll } from '../state/walk.ts'
import { TsvmmError } from '../util/errors.ts'
import { printable } from '../util/issues.ts'
import type { Undecided } from './departure.ts'
import { type Overrides, withOverrides } from './overrides.ts'
import type { HandedDescriptors } from './owned-descriptors.ts'

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
  /** A connection did not get through TLS. */
  readonly onRefused?: (reason: string) => void
  /** The machine is here and cannot go on, for this reason: it is paused. */
  readonly onStill?: (reason: string) => void
  readonly onStarted?: (id: string) => void
  /** Taps of a machine that is handed over that have no other name than these; closed with the machine where absent. */
  readonly onDescriptors?: (descriptors: HandedDescriptors) => void
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
  /** Closes them when it has ended. */
  keep(descriptors: HandedDescriptors): void
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
  const { signal, onListening, onRefused, onStarted, onStill, onDoubt } = options
  signal?.throwIfAborted()
  let made: V | undefined
  const destination = new MigrationDestination<ArrivingMachine & { vm: V }>(
    parseMigrationAddress(url, 0),
    options.speaker ?? ownSpeaker(stateSchemas),
    async (announced, handedOver) => {
      made = await makeArriving(announced, handedOver, options, makeVm)
      return arriving(made, handedOver === undefined)
    },
    options,
    {
      onListening: address => onListening?.(formatMigrationAddress(address)),
      onRefused: reason => onRefused?.(reason),
      onStill: reason => onStill?.(reason),
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

async function makeArriving<V extends ArrivingVm>(
  announced: AnnouncedMachine,
  handedOver: HandedOver | undefined,
  { overrides = {}, tscRate, onDescriptors }: ArrivalOptions,
  makeVm: MakeVm<V>,
): Promise<V> {
  if (handedOver !== undefined) refuseElsewhere(overrides)
  const taps = handedOver === undefined ? [] : namelessTaps(announced.config, handedOver)
  try {
    const config = parseVmConfig(withOverrides(announced.config, { ...overrides, ...tapOverrides(taps) }))
    const cpu = tscRate === 'host' ? atAnyTscRate(announced.cpu) : announced.cpu
    const vm = await makeVm(config, build => arrivingBuilder(build, cpu, handedOver))
    for (const tap of taps) (onDescriptors ?? vm.keep)(tap)
    return vm
  } catch (error) {
    for (const tap of taps) tap.close()
    throw error
  }
}

interface NamelessTap extends HandedDescriptors {
  /** Of its card. */
  readonly id: string
}

/** Of cards whose taps came by descriptor: they go on to be named by that. */
function namelessTaps(config: unknown, handedOver: HandedOver): NamelessTap[] {
  const cards: unknown = Reflect.get(Object(config), 'net')
  if (!Array.isArray(cards)) return []
  return cards.flatMap((card: unknown) => {
    const id: unknown = Reflect.get(Object(card), 'id')
    if (typeof id !== 'string' || !Array.isArray(Reflect.get(Object(card), 'fds'))) return []
    const kept = handedOver.keep(id)
    return kept === undefined ? [] : [{ id, ...kept }]
  })
}

function tapOverrides(taps: readonly NamelessTap[]): Pick<Overrides, 'net'> {
  return taps.length === 0 ? {} : { net: Object.fromEntries(taps.map(({ id, fds }) => [id, { fds: [...fds] }])) }
}

/** Throws ERR_MIGRATION for what a machine that is handed over has from the other process. */
function refuseElsewhere(overrides: Overrides): void {
  const other = (['disks', 'net', 'memory'] as const).find(part => Object.keys(overrides[part] ?? {}).length > 0)
  if (other !== undefined) throw migrationError(`it is handed over with its ${other}, which cannot be elsewhere`)
}

function arrivingBuilder(
  build: MachineBuilder,
  cpu: Parameters<typeof atAnyTscRate>[0],
  handedOver: HandedOver | undefined,
): MachineBuilder {
  return async (config, events, options) => {
    const taken = handedOver === undefined ? {} : { handedOver }
    const machine = await build(config, events, { ...options, ...taken, arrives: true, cpu })
    try {
      const [forgotten] = handedOver?.left ?? []
      if (forgotten !== undefined)
        throw migrationError(`${printable(forgotten)} is handed over, and it has no such device`)
      await machine.components.pause()
      return machine
    } catch (error) {
      await machine.components.close()
      throw error
    }
  }
}

function arriving<V extends ArrivingVm>(vm: V, isElsewhere: boolean): ArrivingMachine & { vm: V } {
  const { machine } = vm
  return {
    ...{ vm, components: machine.components.components, ram: machine.ram },
    load: records => loadAll(machine.components.components, records),
    claim: () => vm.claim(),
    goOn: async (isPaused, pausedMs) => {
      if (isElsewhere) machine.moved()
      machine.skipPause(pausedMs)
      await vm.own(isPaused)
    },
    discard: () => vm.close(),
  }
}
