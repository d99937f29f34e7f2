import { loadKernel } from '../boot/x86_64/load.ts'
import { resetVectorAddress, resetVectorCode } from '../boot/x86_64/reset-vector.ts'
import type { RegisterWindow } from '../bus/registers.ts'
import type { CpuTemplate } from '../config/cpu-template.ts'
import type { VmConfig } from '../config/vm-config.ts'
import { AcpiGed } from '../devices/acpi-ged.ts'
import { AcpiPciHotplug } from '../devices/acpi-pci-hotplug.ts'
import { AcpiPmTimer } from '../devices/acpi-pm-timer.ts'
import { AcpiPower } from '../devices/acpi-power.ts'
import { DebugConsole } from '../devices/debug-console.ts'
import { DebugPort } from '../devices/debug-port.ts'
import { ResetPort } from '../devices/reset-port.ts'
import { Rtc } from '../devices/rtc.ts'
import { Serial } from '../devices/serial.ts'
import { VmClock } from '../devices/vm-clock.ts'
import { VmGenerationId } from '../devices/vm-generation-id.ts'
import type { ExitCounters, Vcpu, VcpuStop } from '../hypervisor/hypervisor.ts'
import { type Kvm, type KvmVirtualMachine, kvmCapabilities } from '../hypervisor/kvm.native.ts'
import { x86Cpu } from '../hypervisor/x86_64/cpu-fingerprint.ts'
import { type CpuidEntry, decodeCpuid, encodeCpuid } from '../hypervisor/x86_64/cpuid/entry.ts'
import { guestCpuid, hasInvariantTsc, physicalBits } from '../hypervisor/x86_64/cpuid/guest-cpuid.ts'
import { apicIdsOf, type CpuTopology, flatTopology } from '../hypervisor/x86_64/cpuid/topology.ts'
import type { EntryRegisters } from '../hypervisor/x86_64/entry-state.ts'
import type { InterruptLine } from '../interrupts/interrupts.ts'
import { Ioapic } from '../interrupts/ioapic.ts'
import { InterruptRoutes } from '../interrupts/routes.ts'
import { createRamImageWriter, type RamSource } from '../memory/ram-image.native.ts'
import { createLateRam, createRamReceiver, createRamSender } from '../memory/ram-transfer.native.ts'
import {
  addressMap,
  barAddress,
  type DeviceArea,
  deviceArea,
  ioapicPins,
  lowBarAddress,
  pinMap,
  portMap,
  ramRanges,
} from '../platform/x86_64/address-map.ts'
import type { Component } from '../state/component.ts'
import { concatenate } from '../util/bytes.ts'
import { TsvmmError } from '../util/errors.ts'
import type { BuiltMachine, CoreDump, MachineEvents, MachineRam } from './build.ts'
import { Chardevs, type Consoles, type Terminals } from './chardevs.ts'
import type { CpuFingerprint } from './cpu-fingerprint.ts'
import { coreLayout } from './elf-core.ts'
import type { HandedOver } from './handover.native.ts'
import { DeviceHotplug } from './hotplug.ts'
import type { Machine } from './machine.ts'
import { PciDevices } from './pci-devices.ts'
import { VirtualMachineComponent } from './virtual-machine.ts'
import { firmwareTables, pciSegment } from './x86_64-tables.ts'
import { X86TimeStampCounters } from './x86_64-tsc.ts'
import { X86Vcpu } from './x86_64-vcpu.ts'

/** EM_X86_64. */
const elfMachine = 62

export interface X86MachineOptions {
  readonly config: VmConfig
  readonly events: MachineEvents
  readonly kvm: Kvm
  readonly components: Machine
  /** Where its RAM comes from, where not from the kernel. */
  readonly ram?: RamSource
  /** The CPU that it was saved with. */
  readonly cpu?: CpuFingerprint
  /** It comes from another host: its RAM is zero at first, and what only one machine may have is claimed later on. */
  readonly arrives: boolean
  /** What another process of this host had of it. */
  readonly handedOver?: HandedOver
}

/** An x86-64 machine: what is where, in the order in which it is built. */
export class X86Machine implements BuiltMachine {
  readonly components: Machine
  readonly hotplug: DeviceHotplug
  readonly vcpus: X86Vcpu[] = []
  onStop: (index: number, stop: VcpuStop) => void = () => {}
  readonly #config: VmConfig
  readonly #source: RamSource | undefined
  readonly #vm: KvmVirtualMachine
  readonly #clock: VirtualMachineComponent
  #counters: X86TimeStampCounters | undefined
  readonly #firstVcpu: Vcpu
  readonly #topology: CpuTopology
  readonly #area: DeviceArea
  readonly #chardevs: Chardevs
  #ged: AcpiGed | undefined
  readonly #pciHotplug = new AcpiPciHotplug()
  readonly #generationId: VmGenerationId
  readonly #guestClock: VmClock
  /** What was begun when the machine was built, until somebody asks for it. */
  #prepared: Promise<EntryRegisters> | undefined

  static async build(options: X86MachineOptions): Promise<X86Machine> {
    const { config, kvm, components, events } = options
    const vm = kvm.createVm(native => {
      native.enableCapability(kvmCapabilities.splitIrqchip, [ioapicPins])
      native.setIdentityMapAddress(addressMap.kvmIdentityMap)
      native.setTssAddress(addressMap.kvmTss)
    })
    const clock = components.add(new VirtualMachineComponent(vm))
    const host = decodeCpuid(kvm.supportedCpuid())
    const firstVcpu = vm.createVcpu(0)
    // Before anything else is opened: what this host's CPU lacks, nothing can make good.
    const saved = options.cpu && (await import('./x86_64-cpu.ts')).requireCpu(options.cpu, kvm, host, firstVcpu)
    const template = saved === undefined ? await templateOf(config, kvm) : undefined
    // A saved guest has its devices below the end of the addresses that it was made for.
    const addressBits = saved?.physicalAddressBits ?? physicalBits(host, config.cpus.max_phys_bits)
    const machine = new X86Machine(options, { vm, clock, firstVcpu, addressBits })
    machine.#addMemory(options.ram)
    if (options.ram === undefined && !options.arrives) machine.#prepare()
    const ioapic = machine.#addInterruptController(events)
    await machine.#addPlatformDevices(events, ioapic.controller)
    const devices = new PciDevices({
      ...{ config, components, vm, routes: ioapic.routes, chardevs: machine.#chardevs },
      segment: pciSegment(machine.#area),
      barAddress: (slot, isDisk) => (isDisk ? lowBarAddress(slot) : barAddress(machine.#area, slot)),
      configPort: portMap.pciConfigAddress,
      isClaimedLater: options.arrives,
      handedOver: options.handedOver,
      onNeedsReset: (device, reason) => events.needsReset(device, reason),
      onDiskFault: (device, reason) => events.diskFault(device, reason),
    })
    machine.hotplug.begin(await devices.addAll(), devices)
    components.add(machine.hotplug)
    // Where the rate is not said it may be any.
    const keepsRate = saved === undefined || saved.tscKilohertz !== undefined
    machine.#addVcpus(kvm, host, { template, keepsRate })
    await options.ram?.fill?.(vm.memory)
    return machine
  }

  private constructor(
    { config, components, ram, events, arrives }: X86MachineOptions,
    parts: { vm: KvmVirtualMachine; clock: VirtualMachineComponent; firstVcpu: Vcpu; addressBits: number },
  ) {
    this.components = components
    this.#config = config
    this.#source = ram
    this.#chardevs = new Chardevs(config, () => events.quit(), arrives)
    this.#vm = parts.vm
    this.#clock = parts.clock
    this.#firstVcpu = parts.firstVcpu
    this.#area = deviceArea(config.memory.size, parts.addressBits)
    const { memory } = parts.vm
    this.#generationId = new VmGenerationId({
      write: bytes => memory.write(addressMap.vmGenerationId, bytes),
      notify: () => this.#ged?.notify('vmGenerationId'),
    })
    this.#guestClock = new VmClock({
      write: bytes => memory.write(addressMap.vmClock, bytes),
      notify: () => this.#ged?.notify('vmClock'),
    })
    this.hotplug = new DeviceHotplug({
      ...{ components, controller: this.#pciHotplug },
      notify: () => this.#ged?.notify('pci'),
      onRemoved: id => events.deviceRemoved(id),
    })
    const { topology, boot_vcpus } = config.cpus
    this.#topology =
      topology === undefined
        ? flatTopology(boot_vcpus)
        : {
            threadsPerCore: topology.threads_per_core,
            coresPerDie: topology.cores_per_die,
            diesPerPackage: topology.dies_per_package,
            packages: topology.packages,
          }
  }

  get ram(): MachineRam {
    const { memory, dirtyPages } = this.#vm
    return {
      ...{ ranges: memory.ranges, dirtyPages },
      createImageWriter: options => createRamImageWriter(memory, options),
      createSender: options => createRamSender(memory, options),
      createReceiver: options => createRamReceiver(memory, options),
      createLate: options => createLateRam(memory, options, () => this.halt()),
      touchedPages: () => this.#source?.touchedPages?.(),
      complete: async () => this.#source?.complete?.(),
    }
  }

  get consoles(): Consoles {
    return this.#chardevs.consoles
  }

  get terminals(): Terminals {
    return this.#chardevs.terminals
  }

  describeCpu(): CpuFingerprint {
    const cpu = this.vcpus[0]?.describeCpu() ?? { cpuid: [], msrs: new Map<number, bigint>() }
    return x86Cpu({ ...cpu, tscKilohertz: this.#firstVcpu.tscKilohertz() })
  }

  async describeRunningCpu(): Promise<CpuFingerprint> {
    const [first] = this.vcpus
    await first?.pause()
    try {
      return this.describeCpu()
    } finally {
      first?.resume()
    }
  }

  coreDump(): CoreDump {
    const { memory } = this.#vm
    const notes = concatenate(this.vcpus.map(vcpu => vcpu.coreNotes()))
    return {
      ...coreLayout(elfMachine, notes, memory.ranges),
      read: (guestAddress, sizeBytes) => memory.read(guestAddress, sizeBytes),
    }
  }

  skipPause(pausedMs?: number): void {
    const skippedNs = this.#clock.skipPause(pausedMs)
    this.#counters?.skip(skippedNs)
  }

  newGeneration(): void {
    this.#generationId.renew()
    this.#guestClock.disrupt({ isNewGeneration: true })
  }

  moved(): void {
    this.#guestClock.disrupt({ isNewGeneration: false })
    for (const component of this.components.components) component.moved?.()
  }

  async load(): Promise<void> {
    const prepared = this.#prepared
    this.#prepared = undefined
    if (prepared === undefined) this.#vm.clearRam()
    const entry = await (prepared ?? this.#fillMemory())
    this.vcpus[0]?.enter(entry)
  }

  /** Begins to load before the rest is built: reading the kernel takes as long as that does. Errors are those of load(). */
  #prepare(): void {
    this.#prepared = this.#fillMemory()
    this.#prepared.catch(() => {})
  }

  /** Everything that a machine finds in its memory at power-on; where the first vCPU begins. */
  async #fillMemory(): Promise<EntryRegisters> {
    const { payload, memory } = this.#config
    // First: the tables are made while it is read.
    const kernel = loadKernel(
      { memory: this.#vm.memory, ram: ramRanges(memory.size), rsdpAddress: addressMap.rsdp },
      {
        kernel: payload.firmware ?? payload.kernel ?? '',
        isFirmware: payload.firmware !== undefined,
        initramfs: payload.initramfs,
        commandLine: payload.cmdline,
      },
    )
    const [entry] = await Promise.all([kernel, this.#placeTables()])
    return entry
  }

  async #placeTables(): Promise<void> {
    const description = { config: this.#config, topology: this.#topology, area: this.#area }
    for (const { address, bytes } of firmwareTables(description)) this.#vm.memory.write(address, bytes)
    this.#vm.memory.write(resetVectorAddress, resetVectorCode)
    this.#generationId.place()
    this.#guestClock.place()
  }

  /** The vCPUs go no further than the access that they wait for. The machine is given up. */
  halt(): void {
    for (const vcpu of this.vcpus) vcpu.close().catch(() => {})
  }

  throttle(percent: number): void {
    for (const vcpu of this.vcpus) vcpu.throttle(percent)
  }

  pressPowerButton(): void {
    this.#ged?.notify('powerButton')
  }

  /** KVM takes it for a vCPU that is out of the guest: each is parked for a moment. */
  async injectNmi(): Promise<void> {
    for (const vcpu of this.vcpus) {
      await vcpu.pause()
      vcpu.injectNmi()
      vcpu.resume()
    }
  }

  exitCounters(): ExitCounters {
    return this.#vm.exitCounters()
  }

  #addMemory(source: RamSource | undefined): void {
    const { memory } = this.#config
    const options = {
      shared: memory.shared,
      hugePageBytes: memory.hugepages ? (memory.hugepage_size ?? 2 * 1024 * 1024) : 0,
      mergeable: memory.mergeable,
      prefault: memory.prefault,
      thp: memory.thp,
      reserve: memory.reserve,
    }
    let offset = 0
    for (const { guestAddress, sizeBytes } of ramRanges(memory.size)) {
      const at = offset
      const make = () => source?.mappingOf?.(at, sizeBytes, options)
      this.#vm.addRam(guestAddress, sizeBytes, options, make)
      offset += sizeBytes
    }
  }

  #addInterruptController(events: MachineEvents): { routes: InterruptRoutes; controller: Ioapic } {
    const routes = this.components.add(new InterruptRoutes(this.#vm.interrupts, ioapicPins))
    const pins = Array.from({ length: ioapicPins }, (_, pin) => routes.open(pin))
    const controller = this.#map('mmio', addressMap.ioapic, new Ioapic(pins))
    this.#vm.setEvents({
      endOfInterrupt: vector => controller.endOfInterrupt(vector),
      vcpuStopped: (index, stop) => this.onStop(index, stop),
      failed: cause => {
        const error = new TsvmmError('ERR_VM_CRASHED', { reason: 'a device failed' }, { cause })
        events.crash(error, cause instanceof Error ? (cause.stack ?? cause.message) : String(cause))
      },
    })
    return { routes, controller }
  }

  async #addPlatformDevices(events: MachineEvents, ioapic: Ioapic): Promise<void> {
    const { serial, debug_console, memory } = this.#config
    const [low, high] = ramRanges(memory.size)
    const sizes = { below4GibBytes: low?.sizeBytes ?? 0, above4GibBytes: high?.sizeBytes ?? 0 }
    this.#map('pio', portMap.resetPort, new ResetPort(() => events.reset()))
    this.#map('pio', portMap.rtc, new Rtc({ ...sizes, onReset: () => events.reset() }))
    this.#map('pio', portMap.debugPort, new DebugPort((code, seconds) => events.debugCode(code, seconds)))
    this.#map('pio', portMap.acpiControl, new AcpiPower(events))
    const timer = this.components.add(new AcpiPmTimer())
    timer.mappedAt(this.#vm.bus.map('pio', portMap.acpiPmTimer, timer))
    this.#ged = this.#map('mmio', this.#area.platform.ged, new AcpiGed(ioapic.line(pinMap.ged)))
    this.#map('mmio', this.#area.platform.pciHotplug, this.#pciHotplug)
    this.components.add(this.#generationId)
    this.components.add(this.#guestClock)
    if (serial.mode !== 'Off') await this.#addSerial(ioapic.line(pinMap.serial))
    if (debug_console.mode !== 'Off') await this.#addDebugConsole(debug_console.iobase)
  }

  async #addSerial(interrupt: InterruptLine): Promise<void> {
    const chardev = await this.#chardevs.open('serial')
    let mapped: { updateSpans(): void } | undefined
    const device = this.components.add(
      new Serial({
        ...{ name: '__serial', interrupt, chardev },
        onSpans: () => mapped?.updateSpans(),
      }),
    )
    mapped = this.#vm.bus.map('pio', portMap.serial, device)
  }

  async #addDebugConsole(port: number): Promise<void> {
    const device = this.components.add(new DebugConsole(await this.#chardevs.open('debug_console')))
    try {
      this.#vm.bus.map('pio', port, device)
    } catch (cause) {
      if (!(cause instanceof TsvmmError && cause.code === 'ERR_BUS_OVERLAP')) throw cause
      const reason = `iobase: something else is at port ${port}`
      throw new TsvmmError('ERR_CONFIG_INVALID', { option: '--debug-console', reason }, { cause })
    }
  }

  #map<D extends Component & RegisterWindow>(space: 'pio' | 'mmio', address: number, device: D): D {
    this.components.add(device)
    this.#vm.bus.map(space, address, device)
    return device
  }

  #addVcpus(
    kvm: Kvm,
    host: readonly CpuidEntry[],
    { template, keepsRate }: { template: CpuTemplate | undefined; keepsRate: boolean },
  ): void {
    const { cpus } = this.#config
    const featureMsrs = kvm.featureMsrIndices()
    const msrIndices = Uint32Array.from(new Set([...kvm.msrIndices(), ...featureMsrs]))
    const hasNestedState = kvm.checkExtension(kvmCapabilities.nestedState) > 0
    const counters = this.components.add(new X86TimeStampCounters(this.#clock, { keepsRate }))
    this.#counters = counters
    for (const [index, apicId] of apicIdsOf(cpus.boot_vcpus, this.#topology).entries()) {
      const vcpu = index === 0 ? this.#firstVcpu : this.#vm.createVcpu(apicId)
      counters.add(vcpu)
      const cpuid = guestCpuid(host, index, {
        topology: this.#topology,
        maximumPhysicalBits: cpus.max_phys_bits,
        amx: cpus.features.amx,
        nested: cpus.nested,
        tscKilohertz: hasInvariantTsc(host) ? vcpu.tscKilohertz() : undefined,
        ...(template === undefined ? {} : { modifiers: template.cpuid }),
      })
      const affinity = cpus.affinity.find(entry => entry.vcpu === index)?.host_cpus
      this.vcpus.push(
        this.components.add(
          new X86Vcpu({
            ...{ index, vcpu, cpuid: encodeCpuid(cpuid), msrIndices, featureMsrs, affinity, hasNestedState },
            ...(template === undefined ? {} : { msrModifiers: template.msrs }),
          }),
        ),
      )
    }
  }
}

/** What the guest is to be given other than it is, if anything. Throws ERR_CPUS. */
async function templateOf({ cpus }: VmConfig, kvm: Kvm): Promise<CpuTemplate | undefined> {
  if (cpus.template === undefined) return undefined
  const { readCpuTemplate } = await import('../config/cpu-template.ts')
  const template = await readCpuTemplate(cpus.template, 'x86_64')
  const missing = template.kvmCapabilities.find(capability => kvm.checkExtension(capability) <= 0)
  if (missing === undefined) return template
  throw new TsvmmError('ERR_CPUS', { reason: `template: this host's KVM has not capability ${missing}` })
}
