import { EventEmitter } from 'node:events'
import type { DeviceList } from '../config/device-ids.ts'
import { parseDevices, parseVmConfig, type VmConfig } from '../config/vm-config.ts'
import type { DevicePlace } from '../machine/build.ts'
import { type ChardevOwner, type ConsoleListener, chardevOwners, type JoinedConsole } from '../machine/chardevs.ts'
import type { MigrationProgress } from '../migration/progress.ts'
import type { SnapshotProgress } from '../snapshot/progress.ts'
import type { SnapshotOptions } from '../snapshot/write.ts'
import type { ComponentInfo, ComponentInspection } from '../state/inspect.ts'
import { TsvmmError } from '../util/errors.ts'
import { SerialQueue } from '../util/serial-queue.ts'
import type { ArrivalOptions } from './arrival.ts'
import type { MigrationOptions } from './departure.ts'
import { withDevice, withoutDevice } from './device-lists.ts'
import { IncomingMigration } from './incoming-migration.ts'
import { monitor, type VmmEvent } from './monitor-events.ts'
import { type HandedDescriptors, OwnedDescriptors } from './owned-descriptors.ts'
import { judgeVmm, type VmmRequest, type VmmState } from './requests.ts'
import type { RestoreOptions } from './restore.ts'
import { Vm, type VmOptions } from './vm.ts'
import type { VmExit } from './vm-events.ts'
import { type VmInfo, vmCounters, vmInfo } from './vm-info.ts'

export { type ChardevOwner, type ConsoleListener, chardevOwners, type JoinedConsole }

export interface VmmEvents {
  event: [VmmEvent]
  /** A machine has been built and is about to boot. */
  built: [Vm]
  /** Something was done that may have changed the machine, or its configuration. */
  changed: []
  /** A machine ended without anybody asking through the VMM. */
  'vm-exit': [VmExit]
}

export interface VmmOptions {
  /** The hypervisor's device; /dev/kvm where absent. */
  readonly kvmPath?: string
  /** When a machine ends by itself the VMM goes on, with the machine as it was created. */
  readonly outlivesVm?: boolean
  /** Makes one from a snapshot; Vm.restore where absent. */
  restoreVm?(path: string, options: RestoreOptions & VmOptions): Promise<Vm>
  /** Waits for one from another host; Vm.receiveMigration where absent. */
  receiveVm?(url: string, options: ArrivalOptions & VmOptions): Promise<Vm>
  /** Makes a machine; Vm.create where absent. */
  createVm?(config: VmConfig, options: { readonly signal: AbortSignal; readonly kvmPath?: string }): Promise<Vm>
}

/** Why a VMM ended: it was closed, or its machine ended. */
export type VmmEnd = { readonly kind: 'closed' } | VmExit

/**
 * Owns at most one machine from its configuration to its end: what the command line and the API drive. Changes are carried
 * out one at a time in the order they come, reads at any time; a change that fails leaves the state as it was.
 *
 *     absent -- create --> created -- boot --> running <-- pause, resume --> paused    (from absent also by a restore, or a
 *        ^                    |  ^------------ shutdown ------'-----------------'       migration from another host)
 *        '------ delete ------'    (delete of a running machine shuts it down first)
 */
export class Vmm extends EventEmitter<VmmEvents> implements AsyncDisposable {
  readonly #options: VmmOptions
  readonly #changes = new SerialQueue()
  readonly #ended = Promise.withResolvers<VmmEnd>()
  readonly #stop = new AbortController()
  /** As it was given, and what that means. */
  #given: object = {}
  #config: VmConfig | undefined
  #vm: Vm | undefined
  /** The machine that is being shut down on request. */
  #leaving: Vm | undefined
  #closing: Promise<void> | undefined
  readonly #descriptors = new OwnedDescriptors()
  readonly #incoming = new IncomingMigration((event, properties) => this.#tell('vm', event, properties))

  constructor(options: VmmOptions = {}) {
    super()
    this.#options = options
  }

  get state(): VmmState {
    if (this.#incoming.isUnderWay) return 'receiving'
    if (this.#config === undefined) return 'absent'
    const state = this.#vm?.state
    return state === 'running' || state === 'paused' || state === 'moving' ? state : 'created'
  }

  /** It has ended, or is about to: changes are refused. */
  get isClosing(): boolean {
    return this.#closing !== undefined
  }

  /** Keeps a VmConfigInput for boot, checked here. Throws ERR_CONFIG_INVALID naming what is wrong, and ERR_VM_EXISTS. */
  create(config: unknown): Promise<void> {
    return this.#change('create', () => this.#configure(config))
  }

  /**
   * Adds a device to the machine, and tells where it is. To the configuration of one that does not run, where devices without an
   * id are named anew; nothing is told then. `handed`, which the device names, become the VMM's, also where that fails. Throws what
   * Vm.addDisk and Vm.addNet throw.
   */
  async addDevice(
    list: DeviceList,
    device: object,
    handed: readonly HandedDescriptors[] = [],
  ): Promise<DevicePlace | undefined> {
    let place: DevicePlace | undefined
    const add = () =>
      this.#change('add-device', async () => {
        if (this.#vm === undefined) return this.#configure(withDevice(this.#given, list, device))
        const { disks, net } = parseDevices({ [list]: [device] })
        for (const disk of disks) place = await this.#vm.addDisk(disk)
        for (const card of net) place = await this.#vm.addNet(card)
      })
    await this.#descriptors.with(handed, add, () => this.#config)
    return place
  }

  /** As Vm.removeDevice; from a machine that does not run it is gone at once. */
  removeDevice(id: string): Promise<void> {
    return this.#change('remove-device', () => {
      if (this.#vm !== undefined) return this.#vm.removeDevice(id)
      this.#configure(withoutDevice(this.#given, this.#existingConfig(), id))
      this.#descriptors.keepFor(this.#config)
    })
  }

  /** As Vm.resizeDisk. */
  resizeDisk(id: string, sizeBytes: number): Promise<void> {
    return this.#change('resize-disk', () => this.#existingVm().resizeDisk(id, sizeBytes))
  }

  /** Opens what the configuration names, loads the kernel and runs it; a paused machine is resumed. */
  boot(): Promise<void> {
    return this.#change('boot', async () => {
      if (this.#vm !== undefined) return this.#vm.resume()
      const config = this.#existingConfig()
      this.#tell('vm', 'booting')
      const { kvmPath, createVm = Vm.create } = this.#options
      const signal = this.#stop.signal
      const vm = await createVm(config, kvmPath === undefined ? { signal } : { signal, kvmPath })
      this.#follow(vm)
      this.emit('built', vm)
      try {
        await vm.boot()
      } catch (error) {
        await this.#cutPower(vm).catch(reportUnseen)
        throw error
      }
    })
  }

  pause(): Promise<void> {
    return this.#change('pause', () => this.#existingVm().pause())
  }

  resume(): Promise<void> {
    return this.#change('resume', () => this.#existingVm().resume())
  }

  reboot(): Promise<void> {
    return this.#change('reboot', () => this.#existingVm().reboot())
  }

  powerButton(): Promise<void> {
    return this.#change('power-button', () => this.#existingVm().powerButton())
  }

  nmi(): Promise<void> {
    return this.#change('nmi', () => this.#existingVm().nmi())
  }

  /** Saves the machine into a directory; one that runs goes on afterwards. */
  snapshot(path: string, options: SnapshotOptions = {}): Promise<void> {
    return this.#change('snapshot', () => this.#existingVm().snapshot(path, options))
  }

  /**
   * Joins a console of the machine, the first that it has where none is named: serial port, console, debug console. Throws
   * ERR_VM_NOT_RUNNING, ERR_CONSOLE.
   */
  joinConsole(listener: ConsoleListener, owner?: ChardevOwner): JoinedConsole {
    const { consoles } = this.#existingVm()
    for (const each of owner === undefined ? chardevOwners : [owner]) {
      const joined = consoles.get(each)?.join(listener)
      if (joined !== undefined) return joined
    }
    throw new TsvmmError('ERR_CONSOLE', { reason: `the machine has no ${owner?.replace('_', ' ') ?? 'serial port'}` })
  }

  /** As Vm.coredump. */
  coredump(path: string): Promise<void> {
    return this.#change('coredump', async () => {
      this.#tell('vm', 'coredumping')
      await this.#existingVm().coredump(path)
      this.#tell('vm', 'coredumped')
    })
  }

  /** Throws ERR_VM_NOT_RUNNING. */
  components(): readonly ComponentInfo[] {
    return this.#existingVm().components()
  }

  /** The state of a component of the machine, which stands still for that moment. Throws ERR_DEVICE_UNKNOWN. */
  async inspect(name: string): Promise<ComponentInspection> {
    const found = Promise.withResolvers<ComponentInspection>()
    await this.#change('inspect', async () => found.resolve(await this.#existingVm().inspect(name)))
    return found.promise
  }

  /** How much of the machine's memory is saved, while that is under way. */
  snapshotProgress(): SnapshotProgress | undefined {
    return this.#vm?.snapshotProgress
  }

  /**
   * Makes a machine from a snapshot, paused where it was saved, or running where that is asked for. `handed`, which the options
   * name, become the VMM's, also where that fails.
   */
  restore(path: string, options: RestoreOptions = {}, handed: readonly HandedDescriptors[] = []): Promise<void> {
    return this.#descriptors.with(
      handed,
      () => this.#restore(path, options),
      () => this.#config,
    )
  }

  #restore(path: string, options: RestoreOptions): Promise<void> {
    return this.#change('restore', async () => {
      this.#tell('vm', 'restoring')
      const { kvmPath, restoreVm = Vm.restore } = this.#options
      const { resume = false, ...others } = options
      const signal = this.#stop.signal
      const vm = await restoreVm(path, { ...others, signal, ...(kvmPath === undefined ? {} : { kvmPath }) })
      this.#follow(vm)
      this.emit('built', vm)
      this.#tell('vm', 'restored')
      if (!resume) return
      try {
        await vm.resume()
      } catch (error) {
        await this.#cutPower(vm).catch(reportUnseen)
        this.#forget()
        throw error
      }
    })
  }

  /**
   * Moves the machine to another host, at `tcp:HOST:PORT` or `unix:/PATH`; others may ask for things meanwhile. The VMM ends then, as
   * it does when the machine ends by itself, and has none where it goes on; it keeps one that is to be preserved, paused. Throws
   * ERR_MIGRATION where the machine stays here, as it was before.
   */
  async sendMigration(url: string, options: MigrationOptions = {}): Promise<void> {
    this.#refuse('send-migration')
    await this.#existingVm().sendMigration(url, options)
  }

  /** Waits for a machine from another host. Throws ERR_MIGRATION where nothing comes of it: there is none then. */
  async receiveMigration(url: string, options: Omit<ArrivalOptions, 'signal'> = {}): Promise<void> {
    const { kvmPath, receiveVm = Vm.receiveMigration } = this.#options
    const adopt = (vm: Vm) => {
      this.#follow(vm)
      this.emit('built', vm)
    }
    const receive = (each: ArrivalOptions) => receiveVm(url, { ...each, ...(kvmPath === undefined ? {} : { kvmPath }) })
    const onDescriptors = (descriptors: HandedDescriptors) => this.#descriptors.own(descriptors)
    let received = Promise.resolve()
    // In turn it only begins: what is asked for while it waits is answered at once.
    await this.#change('receive-migration', () => {
      received = this.#incoming.run(receive, adopt, { ...options, onDescriptors, signal: this.#stop.signal })
    })
    try {
      await received
    } finally {
      this.#descriptors.keepFor(this.#config)
      this.emit('changed')
    }
  }

  /** Without effect once the machine may be on the other side. */
  cancelMigration(): void {
    this.#incoming.cancel()
    this.#vm?.cancelMigration()
  }

  /** How far the machine is on its way to another host. */
  migrationProgress(): MigrationProgress | undefined {
    return this.#vm?.migrationProgress
  }

  /**
   * Decides which side has the machine of a migration where that is in doubt, for this side: `keep` where it is known that the
   * other one has not got it and never will, `discard` where it has. Throws ERR_MIGRATION_UNKNOWN.
   */
  async resolveMigration(id: string, decision: 'keep' | 'discard'): Promise<void> {
    const undecided = this.#incoming.undecided(id)
    if (undecided !== undefined) return await undecided.decide(decision)
    if (this.#vm?.migrationProgress?.id === id) return await this.#vm.resolveMigration(decision)
    throw new TsvmmError('ERR_MIGRATION_UNKNOWN', { id })
  }

  /** Cuts the power. The configuration is kept: the machine can boot again. */
  shutdown(): Promise<void> {
    return this.#change('shutdown', () => this.#shutDown(this.#existingVm()))
  }

  /** Forgets the machine; one that runs is shut down first. */
  delete(): Promise<void> {
    return this.#change('delete', () => this.#delete())
  }

  /** Throws ERR_VM_NOT_CREATED. */
  info(): VmInfo {
    return vmInfo(this.#existingConfig(), this.#vm)
  }

  /** What the machine's devices have counted. Throws ERR_VM_NOT_RUNNING. */
  counters(): Record<string, Record<string, bigint>> {
    const vm = this.#vm
    if (vm === undefined || vm.state === 'shutdown') throw new TsvmmError('ERR_VM_NOT_RUNNING', {})
    return vmCounters(vm)
  }

  /** Ends the machine, whatever it does, and then the VMM; in doubt whether it is here, once that is decided. Idempotent. */
  close(): Promise<void> {
    // One that is being built need not boot any more, and none need come any more.
    if (this.#vm === undefined) this.#stop.abort()
    this.#closing ??= this.#changes.run(async () => {
      try {
        await this.#incoming.over
        if (this.#config !== undefined) await this.#delete()
      } finally {
        this.#end({ kind: 'closed' })
      }
    })
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Resolves when the VMM has ended and all host resources of its machine are given back. */
  wait(): Promise<VmmEnd> {
    return this.#ended.promise
  }

  #configure(given: unknown): void {
    this.#config = parseVmConfig(given)
    this.#given = Object(given)
  }

  #change(request: VmmRequest, action: () => Promise<void> | void): Promise<void> {
    return this.#changes.run(async () => {
      if (this.#refuse(request) === 'already') return
      await action()
      this.emit('changed')
    })
  }

  /** Throws what there is to be said of a request that does not fit. */
  #refuse(request: VmmRequest): 'accept' | 'already' {
    if (this.isClosing) throw new TsvmmError('ERR_ABORTED', { operation: request })
    const verdict = judgeVmm(request, this.state)
    if (verdict === 'deny') throw new TsvmmError('ERR_VM_STATE', { operation: request, state: this.state })
    if (verdict !== 'accept' && verdict !== 'already') throw new TsvmmError(verdict, {})
    return verdict
  }

  async #delete(): Promise<void> {
    if (this.#vm !== undefined) await this.#shutDown(this.#vm)
    this.#forget()
    this.#tell('vm', 'deleted')
  }

  #forget(): void {
    this.#config = undefined
    this.#descriptors.keepFor(undefined)
  }

  async #shutDown(vm: Vm): Promise<void> {
    try {
      await this.#cutPower(vm)
    } finally {
      this.#tell('vm', 'shutdown')
    }
  }

  /** The machine is gone afterwards, even where something of it could not be given back. */
  async #cutPower(vm: Vm): Promise<void> {
    this.#leaving = vm
    try {
      await vm.shutdown()
    } finally {
      this.#vm = undefined
      this.#leaving = undefined
    }
  }

  #follow(vm: Vm): void {
    this.#vm = vm
    this.#adoptConfig(vm)
    vm.on('device-added', () => this.#adoptConfig(vm))
    vm.on('device-removed', () => this.#adoptConfig(vm))
    monitor(vm, (event, properties) => this.#tell('vm', event, properties))
    // Not its event, which has passed where it ended before it came here.
    vm.wait()
      .then(exit => this.#onExit(vm, exit))
      .catch(reportUnseen)
  }

  /** What it has when it is shut down it has when it boots again. */
  #adoptConfig(vm: Vm): void {
    if (this.#vm !== vm) return
    this.#config = vm.config
    this.#given = vm.config
    this.#descriptors.keepFor(vm.config)
  }

  /** The guest powered off or crashed, the person at the terminal asked for the end, or another host has it. */
  #onExit(vm: Vm, exit: VmExit): void {
    if (this.#vm !== vm || this.#leaving === vm) return
    this.#vm = undefined
    // It must not boot here a second time.
    if (exit.kind === 'moved') this.#forget()
    this.#tell('vm', 'shutdown')
    this.emit('changed')
    this.emit('vm-exit', exit)
    if (this.#options.outlivesVm !== true && !this.isClosing) this.#end(exit)
  }

  #end(end: VmmEnd): void {
    if (this.#closing === undefined) this.#closing = Promise.resolve()
    this.#tell('vmm', 'shutdown')
    this.#ended.resolve(end)
  }

  #tell(source: VmmEvent['source'], event: string, properties?: VmmEvent['properties']): void {
    this.emit('event', { source, event, ...(properties && { properties }) })
  }

  #existingConfig(): VmConfig {
    if (this.#config === undefined) throw new TsvmmError('ERR_VM_NOT_CREATED', {})
    return this.#config
  }

  #existingVm(): Vm {
    if (this.#vm === undefined) throw new TsvmmError('ERR_VM_NOT_RUNNING', {})
    return this.#vm
  }
}

/** What fails while something else is being reported. */
function reportUnseen(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error))
}
