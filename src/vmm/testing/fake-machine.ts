import { writeSync } from 'node:fs'
import * as z from 'zod/mini'
import type { VmConfig } from '../../config/vm-config.ts'
import { AcpiPciHotplug } from '../../devices/acpi-pci-hotplug.ts'
import { FakeVirtualMachine } from '../../hypervisor/fake.ts'
import type { BuildOptions, BuiltMachine, MachineBuilder, MachineEvents, Terminals } from '../../machine/build.ts'
import { DeviceHotplug, type NewDevice, type PluggedDevice } from '../../machine/hotplug.ts'
import { Machine } from '../../machine/machine.ts'
import type { RamImageWriter } from '../../memory/ram-image.ts'
import { saved, stateless } from '../../state/carried.ts'
import type { Component } from '../../state/component.ts'
import { defineState } from '../../state/schema.ts'
import type { CloneOptions, ForkOptions } from '../fork.ts'
import type { RestoreOptions } from '../restore.ts'
import { Vm, type VmOptions } from '../vm.ts'

export type FakeStep = 'build' | 'plug' | 'load' | 'save' | 'pause' | 'resume' | 'reset' | 'close'

/** Makes machines without a hypervisor; tests see what was done to them and let steps fail or wait. */
export class FakeMachines {
  /** What was done, machine by machine. */
  readonly steps: string[] = []
  /** Steps that fail from now on. */
  readonly failing = new Set<FakeStep>()
  /** Awaited by every step that can wait. */
  delay: Promise<void> | undefined
  /** Those of the newest machine: the guest's power-off, reboot and crash. */
  events: MachineEvents | undefined
  /** Of the newest machine: what its guest sees and does of hotplug. */
  controller = new AcpiPciHotplug()
  configs: VmConfig[] = []
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

  createVm = (config: VmConfig, options: { readonly signal: AbortSignal }): Promise<Vm> =>
    Vm.createWith(this.#build, config, options)

  async step(name: FakeStep): Promise<void> {
    await this.delay
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

  constructor(machines: FakeMachines, config: VmConfig, events: MachineEvents) {
    this.#machines = machines
    this.terminals = new Map(config.serial.mode === 'Pty' ? [['serial', '/dev/pts/0']] : [])
    this.components.add(new FakeDevice(machines))
    this.components.add(new FakeRegister())
    this.hotplug = this.components.add(
      new DeviceHotplug({
        ...{ components: this.components, controller: machines.controller },
        notify: () => machines.steps.push('notify'),
        onRemoved: id => events.deviceRemoved(id),
      }),
    )
    const present = [...config.disks, ...config.net].map(device => new FakePlug(device))
    for (const { device, transport } of present) {
      this.components.add(device, this.hotplug)
      this.components.add(transport, this.hotplug)
    }
    this.hotplug.begin(present, {
      make: async ({ config: device }: NewDevice) => {
        await machines.step('plug')
        return new FakePlug(device)
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
  }

  describeCpu() {
    return { architecture: 'aarch64' } as const
  }

  skipPause(): void {
    this.#machines.steps.push('skip-pause')
  }

  newGeneration(): void {
    this.#machines.steps.push('new-generation')
  }

  load(): Promise<void> {
    return this.#machines.step('load')
  }

  pressPowerButton(): void {
    this.#machines.steps.push('power-button')
  }

  async injectNmi(): Promise<void> {
    this.#machines.steps.push('nmi')
  }

  exitCounters() {
    return this.#vm.exitCounters()
  }
}

const ramBytes = 4096

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

/** A component with a state. */
class FakeRegister implements Component {
  readonly name = 'fake-register'
  readonly #value = { large: 2n ** 63n, bytes: Uint8Array.of(1, 255) }
  readonly state = saved({ schema: fakeRegisterState, save: () => this.#value, load: () => {} })

  async pause(): Promise<void> {}
  resume(): void {}
  reset(): void {}
  async close(): Promise<void> {}
}

const fakeRegisterState = defineState(
  'fake-register',
  z.strictObject({ large: z.bigint(), bytes: z.instanceof(Uint8Array) }),
)

/** A device in its slot. */
class FakePlug implements PluggedDevice {
  readonly device: Component
  readonly transport: PluggedDevice['transport']

  constructor({ id = '', pci_device_id: slot = 0 }: { id?: string | undefined; pci_device_id?: number | undefined }) {
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
    this.device = { name: id, ...part }
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

  close(): Promise<void> {
    return this.#machines.step('close')
  }
}
