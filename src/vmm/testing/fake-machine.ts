import { writeSync } from 'node:fs'
import * as z from 'zod/mini'
import { nullChardev } from '../../backends/chardev.ts'
import { SharedConsole } from '../../backends/shared-console.ts'
import type { VmConfig } from '../../config/vm-config.ts'
import { AcpiPciHotplug } from '../../devices/acpi-pci-hotplug.ts'
import { FakeVirtualMachine } from '../../hypervisor/fake.ts'
import type {
  BuildOptions,
  BuiltMachine,
  Consoles,
  MachineBuilder,
  MachineEvents,
  Terminals,
} from '../../machine/build.ts'
import { coreLayout } from '../../machine/elf-core.ts'
import { DeviceHotplug, type NewDevice, type PluggedDevice } from '../../machine/hotplug.ts'
import { Machine } from '../../machine/machine.ts'
import type { RamImageWriter } from '../../memory/ram-image.ts'
import type { LateRamOptions, RamReceiverOptions, RamSenderOptions } from '../../memory/ram-transfer.ts'
import { ownSpeaker, type Speaker } from '../../migration/negotiation.ts'
import { saved, stateless } from '../../state/carried.ts'
import type { Component } from '../../state/component.ts'
import { defineState } from '../../state/schema.ts'
import { TsvmmError } from '../../util/errors.ts'
import type { ArrivalOptions } from '../arrival.ts'
import type { CloneOptions, ForkOptions } from '../fork.ts'
import type { RestoreOptions } from '../restore.ts'
import { Vm, type VmOptions } from '../vm.ts'
import { FakeLateRam, FakeRamReceiver, FakeRamSender, ramBytes } from './fake-ram-transfer.ts'

export type FakeStep =
  | 'build'
  | 'plug'
  | 'load'
  | 'save'
  | 'send'
  | 'late'
  | 'pause'
  | 'resume'
  | 'reset'
  | 'claim'
  | 'cede'
  | 'handover'
  | 'close'

/** Makes machines without a hypervisor; tests see what was done to them and let steps fail or wait. */
export class FakeMachines {
  /** What was done, machine by machine. */
  readonly steps: string[] = []
  /** How often a vCPU of a machine that runs stood still to be described. */
  stopsForCpu = 0
  /** Steps that fail from now on. */
  readonly failing = new Set<FakeStep>()
  /** Awaited by every step that can wait. */
  delay: Promise<void> | undefined
  /** Awaited by these steps. */
  readonly delays = new Map<FakeStep, Promise<void>>()
  /** Those of the newest machine: the guest's power-off, reboot and crash. */
  events: MachineEvents | undefined
  /** Of the newest machine: what its guest sees and does of hotplug. */
  controller = new AcpiPciHotplug()
  configs: VmConfig[] = []
  /** Of every machine, and never closed. */
  readonly serial = new SharedConsole(nullChardev)
  /** Of the state of the machines that are made. */
  registerVersion = 1
  /** What a device of each machine has of the host, and what the newest one has got from another process; for tests to close. */
  descriptors: readonly number[] = []
  inherited: readonly number[] | undefined
  /** Of what is handed over, the component whose descriptors a machine takes. */
  takes = 'fake'
  /** Of the last one that was ceded: whether whoever gets it has its descriptors. */
  wasHandedOver = false
  /** How the newest machine was built. */
  options: BuildOptions = {}
  /** Called with each step that is done. */
  onStep: (step: FakeStep) => void = () => {}
  /** Called where a machine is about to be built. */
  onBuild: () => void = () => {}
  readonly #build: MachineBuilder = async (config, events, options) => {
    this.events = events
    this.options = options
    this.configs.push(config)
    this.inherited = options.handedOver?.take(this.takes)
    this.onBuild()
    await this.step('build')
    this.controller = new AcpiPciHotplug()
    return new FakeMachine(this, config, events)
  }

  restoreVm = (path: string, options: RestoreOptions & VmOptions): Promise<Vm> =>
    Vm.restoreWith(this.#build, path, options)

  cloneVm = (path: string, count: number, options: CloneOptions & VmOptions = {}): Promise<Vm[]> =>
    Vm.cloneWith(this.#build, path, count, options)

  forkVm = (vm: Vm, count: number, options: ForkOptions & VmOptions = {}): Promise<Vm[]> =>
    vm.forkWith(this.#build, count, options)

  receiveVm = (url: string, options: ArrivalOptions & VmOptions): Promise<Vm> =>
    Vm.receiveWith(this.#build, url, options)

  createVm = (config: VmConfig, options: { readonly signal: AbortSignal }): Promise<Vm> =>
    Vm.createWith(this.#build, config, options)

  async step(name: FakeStep): Promise<void> {
    await this.delay
    await this.delays.get(name)
    this.stepNow(name)
  }

  stepNow(name: FakeStep): void {
    if (this.failing.has(name)) throw new Error(`${name} fails`)
    this.steps.push(name)
    this.onStep(name)
  }
}

class FakeMachine implements BuiltMachine {
  readonly components = new Machine()
  readonly #machines: FakeMachines
  readonly #vm = new FakeVirtualMachine()

  readonly hotplug: DeviceHotplug
  readonly terminals: Terminals
  readonly consoles: Consoles

  constructor(machines: FakeMachines, config: VmConfig, events: MachineEvents) {
    this.#machines = machines
    this.terminals = new Map(config.serial.mode === 'Pty' ? [['serial', '/dev/pts/0']] : [])
    this.consoles = new Map([['serial', machines.serial]])
    this.components.add(new FakeDevice(machines))
    this.components.add(new FakeRegister(machines.registerVersion))
    this.hotplug = this.components.add(
      new DeviceHotplug({
        ...{ components: this.components, controller: machines.controller },
        notify: () => machines.steps.push('notify'),
        onRemoved: id => events.deviceRemoved(id),
      }),
    )
    const plug = (device: VmConfig['disks'][number] | VmConfig['net'][number]) =>
      new FakePlug(device, sizeBytes => machines.steps.push(`resize ${device.id} ${sizeBytes}`))
    const present = [...config.disks, ...config.net].map(plug)
    for (const { device, transport } of present) {
      this.components.add(device, this.hotplug)
      this.components.add(transport, this.hotplug)
    }
    this.hotplug.begin(present, {
      make: async ({ config: device }: NewDevice) => {
        await machines.step('plug')
        return plug(device)
      },
    })
  }

  readonly ram = {
    ranges: [{ guestAddress: 0, sizeBytes: ramBytes }],
    dirtyPages: this.#vm.dirtyPages,
    createImageWriter: ({ fd }: { readonly fd: number }) => {
      const step = () => this.#machines.step('save')
      return new FakeImageWriter(fd, step)
    },
    createSender: (options: RamSenderOptions) => new FakeRamSender(options, () => this.#machines.step('send')),
    createReceiver: (options: RamReceiverOptions) => new FakeRamReceiver(options),
    createLate: (options: LateRamOptions) => {
      this.#machines.stepNow('late')
      return new FakeLateRam(options)
    },
  }

  describeCpu() {
    return { architecture: 'aarch64' } as const
  }

  async describeRunningCpu() {
    this.#machines.stopsForCpu += 1
    return this.describeCpu()
  }

  skipPause(): void {
    this.#machines.steps.push('skip-pause')
  }

  newGeneration(): void {
    this.#machines.steps.push('new-generation')
  }

  moved(): void {
    this.#machines.steps.push('moved')
  }

  load(): Promise<void> {
    return this.#machines.step('load')
  }

  throttle(): void {}

  pressPowerButton(): void {
    this.#machines.steps.push('power-button')
  }

  async injectNmi(): Promise<void> {
    this.#machines.steps.push('nmi')
  }

  coreDump() {
    return {
      ...coreLayout(0, new Uint8Array(), this.ram.ranges),
      read: (_guestAddress: number, sizeBytes: number) => new Uint8Array(sizeBytes).fill(1),
    }
  }

  exitCounters() {
    return this.#vm.exitCounters()
  }
}

/** Of a page of ones. */
class FakeImageWriter implements RamImageWriter {
  readonly #fd: number
  readonly #step: () => Promise<void>
  #isCancelled = false

  constructor(fd: number, step: () => Promise<void>) {
    this.#fd = fd
    this.#step = step
  }

  prepareFreeze(): void {
    throw new Error('a fake memory cannot be frozen')
  }

  freeze(): Promise<void> {
    return this.write()
  }

  async write(): Promise<void> {
    await this.#step()
    if (this.#isCancelled) throw new Error('cancelled')
    writeSync(this.#fd, new Uint8Array(ramBytes).fill(1))
  }

  progress() {
    return { pagesDone: 1, pagesTotal: 1, bytesWritten: ramBytes }
  }

  cancel(): void {
    this.#isCancelled = true
  }

  index(): Uint8Array<ArrayBuffer> {
    return Uint8Array.of(1, 2, 3)
  }

  close(): void {}
}

const fakeRegisterState = defineState(
  'fake-register',
  z.strictObject({ large: z.bigint(), bytes: z.instanceof(Uint8Array) }),
)
/** As a later release may have it. */
const laterRegisterState = fakeRegisterState.next(z.strictObject({ value: z.bigint() }), {
  up: ({ large }) => ({ value: large }),
  down: ({ value }) => ({ large: value, bytes: Uint8Array.of(1, 255) }),
})

/** What a side of a migration of such machines speaks, as of that version of their state. */
export function fakeSpeaker(version = 1): Speaker {
  return ownSpeaker([version === 1 ? fakeRegisterState : laterRegisterState])
}

const registerValue = { large: 2n ** 63n, bytes: Uint8Array.of(1, 255) }

/** A component with a state. */
class FakeRegister implements Component {
  readonly name = 'fake-register'
  readonly state: Component['state']

  constructor(version: number) {
    this.state =
      version === 1
        ? saved({ schema: fakeRegisterState, save: () => registerValue, load: () => {} })
        : saved({ schema: laterRegisterState, save: () => ({ value: registerValue.large }), load: () => {} })
  }

  async pause(): Promise<void> {}
  resume(): void {}
  reset(): void {}
  async close(): Promise<void> {}
}

/** A device in its slot. */
class FakePlug implements PluggedDevice {
  readonly device: PluggedDevice['device']
  readonly transport: PluggedDevice['transport']

  constructor(
    { id = '', pci_device_id: slot = 0, ...config }: VmConfig['disks'][number] | VmConfig['net'][number],
    resize: (sizeBytes: number) => void,
  ) {
    const part = {
      ...{ state: stateless, pause: async () => {}, resume: () => {}, reset: () => {}, close: async () => {} },
    }
    const name = `_virtio-pci-${id}`
    const pciAddress = `0000:00:${slot.toString(16).padStart(2, '0')}.0`
    const counters = { read_bytes: 4096n, read_ops: 1n }
    const describe = () => [
      { id: name, pciAddress, counters: {} },
      { id, parent: name, counters },
    ]
    const fds = 'fds' in config ? config.fds : undefined
    this.device = { name: id, ...part, resize, ...(fds === undefined ? {} : { handover: () => fds }) }
    this.transport = { name, ...part, slot, pciAddress, describe }
  }
}

class FakeDevice implements Component {
  readonly name = 'fake'
  readonly state = stateless
  readonly #machines: FakeMachines

  constructor(machines: FakeMachines) {
    this.#machines = machines
  }

  pause(): Promise<void> {
    return this.#machines.step('pause')
  }

  resume(): void {
    this.#machines.stepNow('resume')
  }

  reset(): void {
    this.#machines.stepNow('reset')
  }

  claim(): void {
    this.#machines.stepNow('claim')
  }

  cede(isHandedOver: boolean): Promise<void> {
    this.#machines.wasHandedOver = isHandedOver
    return this.#machines.step('cede')
  }

  handover(): readonly number[] {
    if (this.#machines.failing.has('handover')) throw new TsvmmError('ERR_MIGRATION', { reason: 'it is private' })
    return this.#machines.descriptors
  }

  close(): Promise<void> {
    return this.#machines.step('close')
  }
}
