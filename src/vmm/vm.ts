import { EventEmitter } from 'node:events'
import type { DeviceList } from '../config/device-ids.ts'
import { settled } from '../config/settle.ts'
import {
  type DiskConfigInput,
  type NetConfigInput,
  parseVmConfig,
  type VmConfig,
  type VmConfigInput,
} from '../config/vm-config.ts'
import type { ExitCounters } from '../hypervisor/hypervisor.ts'
import {
  type BuiltMachine,
  buildMachine,
  type Consoles,
  type DevicePlace,
  type MachineBuilder,
  type MachineEvents,
  type Terminals,
} from '../machine/build.ts'
import type { CpuFingerprint } from '../machine/cpu-fingerprint.ts'
import type { MigrationProgress, MigrationReport } from '../migration/progress.ts'
import { Lineage } from '../snapshot/lineage.ts'
import type { SnapshotProgress } from '../snapshot/progress.ts'
import type { OpenSnapshot } from '../snapshot/read.ts'
import type { SnapshotOptions } from '../snapshot/write.ts'
import type { DeviceDescription } from '../state/component.ts'
import { type ComponentInfo, type ComponentInspection, inspectComponent, listComponents } from '../state/inspect.ts'
import { abortable } from '../util/abortable.ts'
import { TsvmmError } from '../util/errors.ts'
import type { ArrivalOptions } from './arrival.ts'
import type { MigrationOptions } from './departure.ts'
import { EventRelay } from './event-relay.ts'
import { type EventsOptions, eventStream, type VmEvent, type VmEventName } from './event-stream.ts'
import type { CloneOptions, ForkOptions } from './fork.ts'
import { MachineConfig } from './machine-config.ts'
import { type RelocatableVm, Relocation } from './relocation.ts'
import { judge, type VmState } from './requests.ts'
import type { RestoreOptions } from './restore.ts'
import { RunControl } from './run-control.ts'
import { Saving } from './saving.ts'
import type { VmEvents, VmExit } from './vm-events.ts'

export interface VmOptions {
  /** Aborting it stops the machine as shutdown() does. */
  readonly signal?: AbortSignal
  /** The hypervisor's device; /dev/kvm where absent. */
  readonly kvmPath?: string
}

export interface WaitOptions {
  /** Gives up waiting; the machine goes on. */
  readonly signal?: AbortSignal
}

/**
 * One machine. `create` opens every host resource the configuration names and begins to read the kernel, `boot` waits for
 * that and starts the vCPUs; requests are carried out one at a time in the order they come. Dispose of it with
 * `await using` or `close`.
 */
export class Vm extends EventEmitter<VmEvents> implements AsyncDisposable {
  readonly #config: MachineConfig
  readonly #machine: BuiltMachine
  readonly #control: RunControl
  readonly #exited = Promise.withResolvers<VmExit>()
  readonly #lineage: Lineage
  readonly #saving: Saving
  readonly #relocation: Relocation

  /** Throws TsvmmError naming the flag or field that is wrong; nothing is left open then. */
  static create(config: VmConfigInput, options: VmOptions = {}): Promise<Vm> {
    return Vm.createWith(buildMachine, config, options)
  }

  /**
   * Makes a machine from a snapshot: paused where it was saved, or running where that is asked for. Throws ERR_SNAPSHOT
   * naming the file that is missing or damaged, and what create throws; nothing is left open then.
   */
  static restore(path: string, options: RestoreOptions & VmOptions = {}): Promise<Vm> {
    return Vm.restoreWith(buildMachine, path, options)
  }

  /** As restore, on machines that `build` makes. @internal */
  static async restoreWith(build: MachineBuilder, path: string, options: RestoreOptions & VmOptions = {}): Promise<Vm> {
    options.signal?.throwIfAborted()
    // Loaded where they are needed: a boot does without them.
    const { openSnapshot } = await import('../snapshot/read.ts')
    await using snapshot = await openSnapshot(path)
    const { restoreSnapshot } = await import('./fork.ts')
    return await restoreSnapshot(snapshot, options, (opened, each) => Vm.#restoreOne(build, opened, each))
  }

  /**
   * Makes so many machines from a snapshot, all or none, that share what they do not change of its memory. Throws ERR_CLONES
   * that lists what they would have to share and cannot: disks that they write to, taps, files.
   */
  static clone(path: string, count: number, options: CloneOptions & VmOptions = {}): Promise<Vm[]> {
    return Vm.cloneWith(buildMachine, path, count, options)
  }

  /** As clone, on machines that `build` makes. @internal */
  static async cloneWith(
    build: MachineBuilder,
    path: string,
    count: number,
    options: CloneOptions & VmOptions = {},
  ): Promise<Vm[]> {
    const { cloneSnapshot } = await import('./fork.ts')
    return await cloneSnapshot(path, count, options, (snapshot, each) => Vm.#restoreOne(build, snapshot, each))
  }

  static async #restoreOne(
    build: MachineBuilder,
    snapshot: OpenSnapshot,
    options: RestoreOptions & VmOptions,
  ): Promise<Vm> {
    const { restoredMachine } = await import('./restore.ts')
    const restored = restoredMachine(snapshot, options)
    const vm = await Vm.#make(restored.building(build), restored.config, options, 'paused', restored.shown)
    if (options.resume !== true) return vm
    try {
      await vm.resume()
      return vm
    } catch (error) {
      await vm.close()
      throw error
    }
  }

  /**
   * Waits at an address, `tcp:HOST:PORT` or `unix:/PATH`, for a machine from another host, and makes it: running, or paused where
   * it was. The signal gives up the wait: one that may be here already, and has left the other host, goes on whatever it says.
   * Throws ERR_MIGRATION where nothing comes of it; nothing is left open then.
   */
  static receiveMigration(url: string, options: ArrivalOptions & Pick<VmOptions, 'kvmPath'> = {}): Promise<Vm> {
    return Vm.receiveWith(buildMachine, url, options)
  }

  /** As receiveMigration, of machines that `build` makes. @internal */
  static async receiveWith(
    build: MachineBuilder,
    url: string,
    options: ArrivalOptions & Pick<VmOptions, 'kvmPath'> & { readonly onVm?: (vm: Vm) => void } = {},
  ): Promise<Vm> {
    const { receiveMachine } = await import('./arrival.ts')
    const { kvmPath, onVm } = options
    const vmOptions = kvmPath === undefined ? {} : { kvmPath }
    const arrived = await receiveMachine(url, options, async (config, building) => {
      const vm = await Vm.#make(building(build), config, vmOptions, 'moving')
      onVm?.(vm)
      return { vm, ...vm.#relocation.arriving(() => vm.close()) }
    })
    return arrived.vm
  }

  /** As create, on machines that `build` makes. @internal */
  static async createWith(build: MachineBuilder, config: VmConfigInput, options: VmOptions = {}): Promise<Vm> {
    return Vm.#make(build, config, options, 'created')
  }

  static async #make(
    build: MachineBuilder,
    config: VmConfigInput,
    options: VmOptions,
    state: VmState,
    shown?: string,
  ): Promise<Vm> {
    options.signal?.throwIfAborted()
    const parsed = settled(parseVmConfig(config))
    const relay = new EventRelay()
    const machine = await build(parsed, relay, options.kvmPath === undefined ? {} : { kvmPath: options.kvmPath })
    if (relay.lost !== undefined) {
      await machine.components.close()
      throw relay.lost
    }
    const vm = new Vm(parsed, machine, state, shown)
    relay.bind(vm.#machineEvents())
    vm.#stopOnAbort(options.signal)
    return vm
  }

  #machineEvents(): MachineEvents {
    return {
      powerOff: () => this.#end({ kind: 'power-off' }),
      reset: () => this.#rebootItself(),
      crash: (error, report) => this.#end({ kind: 'crash', error, report }),
      memoryLost: error => this.#lose(error),
      debugCode: (code, elapsedSeconds) => this.emit('debug-code', code, elapsedSeconds),
      needsReset: (device, reason) => {
        // Of a machine without memory every device finds something wrong.
        if (!this.#control.loss.aborted) this.emit('needs-reset', device, reason)
      },
      deviceRemoved: id => {
        this.#relocation.cancel(new TsvmmError('ERR_MIGRATION', { reason: `${id} was removed meanwhile` }))
        this.#config.remove(id)
        this.emit('device-removed', id)
      },
      diskFault: (device, reason) => this.emit('disk-fault', device, reason),
      quit: () => this.#end({ kind: 'stopped' }),
    }
  }

  private constructor(config: VmConfig, machine: BuiltMachine, state: VmState, shown: string | undefined) {
    super()
    this.#lineage = new Lineage(machine.ram.dirtyPages, shown)
    this.#control = new RunControl(state, machine.components, () => this.#relocation)
    this.#config = new MachineConfig(config)
    this.#machine = machine
    this.#saving = new Saving({
      ...{ events: this, machine, lineage: this.#lineage, loss: this.#control.loss },
      config: () => this.config,
      isRunning: () => this.state === 'running',
      whilePaused: action => this.#control.whilePaused(action),
    })
    this.#relocation = new Relocation(this.#relocatable(), state === 'moving')
  }

  #stopOnAbort(signal: AbortSignal | undefined): void {
    const onAbort = () => this.#end({ kind: 'stopped' })
    if (signal?.aborted === true) onAbort()
    signal?.addEventListener('abort', onAbort, { once: true })
    this.once('exit', () => signal?.removeEventListener('abort', onAbort))
  }

  get state(): VmState {
    return this.#control.state
  }

  /** With all that was chosen for the machine when it was made, and the devices that it has now. */
  get config(): VmConfig {
    return this.#config.current
  }

  /** Its serial port and consoles, for others to join. */
  get consoles(): Consoles {
    return this.#machine.consoles
  }

  /** Where clients find its pseudo terminals. */
  get terminals(): Terminals {
    return this.#machine.terminals
  }

  /** What happens to the machine from now on: `for await (const { name, args } of vm.events())`; ends when it has ended. */
  events<Name extends VmEventName>(options: EventsOptions<Name> = {}): ReadableStream<VmEvent<Name>> {
    return eventStream(this, this.#exited.promise, options)
  }

  boot(): Promise<void> {
    return this.#control.request('boot', async () => {
      await this.#machine.load()
      this.emit('loaded')
      await this.#control.go()
      this.emit('booted')
    })
  }

  pause(): Promise<void> {
    return this.#control.request('pause', async () => {
      this.emit('pausing')
      await this.#control.park()
      this.#control.state = 'paused'
      this.emit('paused')
    })
  }

  resume(): Promise<void> {
    return this.#control.request('resume', async () => {
      this.emit('resuming')
      await this.#control.go()
      this.emit('resumed')
    })
  }

  /**
   * Resets the machine in place, as the guest's own reboot does. A paused machine runs afterwards. Where the kernel can no
   * longer be loaded the machine ends: what ran before is gone by then.
   */
  reboot(): Promise<void> {
    return this.#control.request('reboot', async () => {
      await this.#relocation.claim()
      this.emit('rebooting')
      await this.#control.park()
      try {
        await this.#machine.hotplug.finishRemovals()
        this.#machine.components.reset()
        await this.#machine.load()
        this.#control.loss.throwIfAborted()
        this.#machine.components.resume()
      } catch (cause) {
        const error = new TsvmmError('ERR_VM_CRASHED', { reason: 'its reboot failed' }, { cause })
        this.#end({ kind: 'crash', error, report: '' })
        throw cause
      }
      this.#control.state = 'running'
      this.emit('rebooted')
    })
  }

  /** Presses the power button: what happens then is up to the guest. */
  powerButton(): Promise<void> {
    return this.#control.request('power-button', () => this.#machine.pressPowerButton())
  }

  /** A non-maskable interrupt to every vCPU. */
  nmi(): Promise<void> {
    return this.#control.request('nmi', () => this.#machine.injectNmi())
  }

  /**
   * Adds a disk, also while the machine runs or is paused, and tells the guest. Throws ERR_CONFIG_INVALID, ERR_DISK and
   * ERR_RESOURCE_EXHAUSTED, where nothing of it is left.
   */
  addDisk(disk: DiskConfigInput): Promise<DevicePlace> {
    return this.#addDevice('disks', disk)
  }

  /** As addDisk(), a network card. Throws ERR_NET. */
  addNet(card: NetConfigInput): Promise<DevicePlace> {
    return this.#addDevice('net', card)
  }

  /**
   * Asks the guest to give up a disk or a card; `device-removed` tells when it has. Asking again is telling it again; what it
   * has not given up by its next reset is gone then. Throws ERR_DEVICE_UNKNOWN and ERR_DEVICE_FIXED.
   */
  removeDevice(id: string): Promise<void> {
    return this.#control.request('remove-device', async () => {
      this.#machine.hotplug.remove(id)
      // Before it boots there is nobody to ask.
      if (this.state === 'created') await this.#machine.hotplug.finishRemovals()
    })
  }

  /**
   * Makes a raw disk, and its image, larger; the guest is told. Throws ERR_DEVICE_UNKNOWN, ERR_DEVICE_SIZE, and ERR_DISK where the
   * host cannot.
   */
  resizeDisk(id: string, sizeBytes: number): Promise<void> {
    return this.#control.request('resize-disk', async () => {
      await this.#relocation.claim()
      this.#machine.hotplug.resize(id, sizeBytes)
    })
  }

  #addDevice(list: DeviceList, input: unknown): Promise<DevicePlace> {
    return this.#control.find('add-device', async () => {
      const device = this.#config.plan(list, input)
      const place = await this.#machine.hotplug.add(device)
      this.#config.add(device)
      this.emit('device-added', place)
      return place
    })
  }

  /**
   * Saves the machine into a directory that is there as a whole in the end or not at all. One that runs stands still
   * meanwhile and goes on, whatever comes of it. Throws ERR_SNAPSHOT, and ERR_STATE_PINNED where a part cannot travel.
   */
  snapshot(path: string, options: SnapshotOptions = {}): Promise<void> {
    return this.#save(path, options)
  }

  /**
   * Makes so many clones of the machine, all or none, which goes on: it is saved once, and they share what they do not change
   * of its memory. Each is the caller's to close. Throws ERR_CLONES as clone() does, before the machine is paused, and what
   * snapshot() and restore() throw.
   */
  fork(count: number, options: ForkOptions & VmOptions = {}): Promise<Vm[]> {
    return this.forkWith(buildMachine, count, options)
  }

  /** As fork, on machines that `build` makes. @internal */
  async forkWith(build: MachineBuilder, count: number, options: ForkOptions & VmOptions = {}): Promise<Vm[]> {
    const { forkMachine } = await import('./fork.ts')
    const source = {
      config: this.config,
      save: this.#save.bind(this),
      restoreOne: (snapshot: OpenSnapshot, each: RestoreOptions & VmOptions) => Vm.#restoreOne(build, snapshot, each),
    }
    return await forkMachine(source, count, options)
  }

  /**
   * Moves the machine to the host that waits at an address, `tcp:HOST:PORT` or `unix:/PATH`, while it runs; it stands still only at
   * the end. Resolves when that host has it: this machine has ended then, or is paused where it is to be preserved. Throws
   * ERR_MIGRATION, or the reason of the signal, where it stays here, as it was before; ERR_STATE_PINNED where a part cannot travel.
   * Pending where it is not known whether the other host has it, until both meet again or resolveMigration() is called.
   */
  async sendMigration(url: string, options: MigrationOptions = {}): Promise<MigrationReport> {
    return await this.#relocation.send(url, options)
  }

  /** How far it is on its way to another host. */
  get migrationProgress(): MigrationProgress | undefined {
    return this.#relocation.progress
  }

  /** Without effect once the other host may have the machine. */
  cancelMigration(): void {
    this.#relocation.cancel(new TsvmmError('ERR_ABORTED', { operation: 'the migration' }))
  }

  /**
   * Where it is in doubt which side has the machine: `keep` where it is known that the other host has not got it and never will,
   * `discard` where it has. Throws ERR_VM_STATE where nothing is in doubt.
   */
  resolveMigration(decision: 'keep' | 'discard'): Promise<void> {
    return this.#relocation.resolve(decision)
  }

  #relocatable(): RelocatableVm {
    return {
      ...{ events: this, machine: this.#machine, lineage: this.#lineage },
      config: () => this.config,
      describeCpu: () => this.#control.inTurn(() => this.#describeCpu()),
      begin: action => this.#control.request('send-migration', action),
      leave: () => this.#control.leave(),
      stay: isPaused => this.#control.stay(isPaused),
      lose: error => this.#lose(error),
      end: isPreserved =>
        this.#control.inTurn(async () => {
          if (this.state === 'shutdown') return
          if (isPreserved) this.#control.state = 'paused'
          else await this.#close({ kind: 'moved' })
        }),
    }
  }

  /** In turn: a vCPU stands still for it. */
  async #describeCpu(): Promise<CpuFingerprint> {
    const { state } = this
    if (state === 'running') return await this.#machine.describeRunningCpu()
    if (state === 'paused') return this.#machine.describeCpu()
    throw new TsvmmError('ERR_VM_STATE', { operation: 'send-migration', state })
  }

  #lose(error: TsvmmError): void {
    this.#control.lose(error)
    this.#end({ kind: 'crash', error, report: '' })
  }

  #save(path: string, options: SnapshotOptions, meanwhile = async () => {}): Promise<void> {
    return this.#control.request('snapshot', () => this.#saving.save(path, options, meanwhile))
  }

  /** How much of its memory is saved, while that is under way. */
  get snapshotProgress(): SnapshotProgress | undefined {
    return this.#saving.progress
  }

  /** The components of the machine, whose states can be inspected. Throws ERR_VM_STATE where it has not begun or has ended. */
  components(): readonly ComponentInfo[] {
    if (judge('inspect', this.state) === 'deny') {
      throw new TsvmmError('ERR_VM_STATE', { operation: 'inspect', state: this.state })
    }
    return listComponents(this.#machine.components.components)
  }

  /**
   * The state of a component as a snapshot would have it. A machine that runs stands still for that moment. Throws
   * ERR_DEVICE_UNKNOWN.
   */
  inspect(name: string): Promise<ComponentInspection> {
    const { components } = this.#machine.components
    return this.#control.find('inspect', () =>
      this.#control.whilePaused(async () => inspectComponent(components, name)),
    )
  }

  /**
   * Writes registers and memory into an ELF core file, which must not be there yet, for debuggers; one that runs stands still meanwhile.
   * Throws ERR_CORE_DUMP, and ERR_MIGRATION as long as the rest of its memory is on its way here.
   */
  coredump(path: string): Promise<void> {
    return this.#control.request('coredump', async () => {
      // This thread, which meets the other host again, would be given zeroes where a page cannot be had, and so would the guest.
      this.#relocation.requireWholeMemory()
      const { writeCoreDump } = await import('./core-dump.ts')
      await this.#control.whilePaused(() => writeCoreDump(path, this.#machine.coreDump(), this.#control.loss))
    })
  }

  /** Cuts the power and gives back every host resource. */
  shutdown(): Promise<void> {
    return this.#control.request('shutdown', () => this.#close({ kind: 'stopped' }))
  }

  /** Resolves when the machine has ended and all host resources are given back. */
  async wait(options: WaitOptions = {}): Promise<VmExit> {
    const { signal } = options
    return await (signal === undefined ? this.#exited.promise : abortable(this.#exited.promise, signal))
  }

  /** As shutdown(), whatever the state. Idempotent. */
  async close(): Promise<void> {
    await this.shutdown()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** The devices that clients can name, with where they are and what they have counted. */
  devices(): readonly DeviceDescription[] {
    return this.#machine.components.describe()
  }

  /** Exits that reached this process so far, by how they were answered. */
  exitCounters(): ExitCounters {
    return this.#machine.exitCounters()
  }

  /**
   * The guest asked for it from inside a trap, which must be answered before its vCPU can be parked. It goes on until then,
   * and tries its next way to reset: that is the same reboot still.
   */
  #rebootItself(): void {
    if (this.#control.isResetting) return
    this.#control.isResetting = true
    this.reboot()
      .catch((cause: unknown) => {
        if (this.state === 'shutdown') return
        const error = new TsvmmError('ERR_VM_CRASHED', { reason: 'its reboot failed' }, { cause })
        this.#end({ kind: 'crash', error, report: '' })
      })
      .finally(() => {
        this.#control.isResetting = false
      })
  }

  #end(exit: VmExit): void {
    this.#control
      .inTurn(async () => {
        if (this.state !== 'shutdown') await this.#close(exit)
      })
      // wait() has told the exit already; what failed to close must not pass unseen.
      .catch((error: unknown) => process.emitWarning(error instanceof Error ? error : String(error)))
  }

  async #close(exit: VmExit): Promise<void> {
    this.#control.state = 'shutdown'
    this.#relocation.abandon()
    try {
      await this.#machine.components.close()
    } finally {
      this.#exited.resolve(exit)
      this.emit('exit', exit)
    }
  }
}
