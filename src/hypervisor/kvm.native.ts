import { NativeBus } from '../bus/native-bus.native.ts'
import type { MsiGateway, MsiMessage } from '../interrupts/routes.ts'
import type { EventFd } from '../memory/event-fd.ts'
import { MappedMemory } from '../memory/mapped.native.ts'
import {
  addon,
  type NativeEventFd,
  type NativeKvm,
  type NativeMapping,
  type NativeVcpu,
  type NativeVm,
} from '../native/addon.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import type {
  DirtyPages,
  Doorbells,
  ExitCounters,
  ParavirtualClock,
  RamOptions,
  Vcpu,
  VirtualMachine,
  VirtualMachineEvents,
} from './hypervisor.ts'

/** Capability numbers of <linux/kvm.h>. */
export const kvmCapabilities = {
  maximumVcpus: 66,
  gsiRouting: 25,
  splitIrqchip: 121,
  x2apicApi: 129,
  kvmclockCtrl: 76,
  tscDeadlineTimer: 72,
  nestedState: 157,
  tscControl: 60,
} as const

/** The system side: what the host's KVM can do. */
export class Kvm {
  readonly #native: NativeKvm

  private constructor(native: NativeKvm) {
    this.#native = native
  }

  /** Throws ERR_ADDON, or ERR_HYPERVISOR_OPEN naming the device and the cause. */
  static open(path = '/dev/kvm'): Kvm {
    const { Kvm: Device } = addon()
    try {
      return new Kvm(new Device(path))
    } catch (cause) {
      throw new TsvmmError('ERR_HYPERVISOR_OPEN', { path, reason: openReason(cause) }, { cause })
    }
  }

  checkExtension(capability: number): number {
    return this.#native.checkExtension(capability)
  }

  supportedCpuid(): Uint8Array<ArrayBuffer> {
    return this.#native.supportedCpuid()
  }

  msrIndices(): Uint32Array<ArrayBuffer> {
    return this.#native.msrIndices()
  }

  /** MSRs of the host that say what guests can have: those of `indices` up to the first that it does not know. */
  getMsrs(indices: Uint32Array): BigUint64Array<ArrayBuffer> {
    return this.#native.featureMsrs(indices)
  }

  /** MSRs that say what there is: they are a property of the CPU, whatever its state. */
  featureMsrIndices(): Uint32Array<ArrayBuffer> {
    return this.#native.featureMsrIndices()
  }

  /** `prepare` does what an architecture needs before the first vCPU, with the capabilities it enables. */
  createVm(prepare: (vm: VmPreparation) => void): KvmVirtualMachine {
    return translated('create a virtual machine', () => {
      const vm = this.#native.createVm()
      try {
        prepare(vm)
        return new KvmVirtualMachine(vm)
      } catch (error) {
        vm.close()
        throw error
      }
    })
  }

  close(): void {
    this.#native.close()
  }
}

export type VmPreparation = Pick<
  NativeVm,
  'enableCapability' | 'setTssAddress' | 'setIdentityMapAddress' | 'checkExtension'
>

export class KvmVirtualMachine implements VirtualMachine {
  readonly memory = new MappedMemory()
  readonly bus: NativeBus
  readonly interrupts: MsiGateway
  readonly doorbells: Doorbells
  readonly clock: ParavirtualClock
  readonly dirtyPages: DirtyPages
  readonly #vm: NativeVm
  #nextSlot = 0
  #isClosed = false
  #lastCounters: ExitCounters | undefined

  constructor(vm: NativeVm) {
    this.#vm = vm
    this.bus = new NativeBus(vm)
    this.interrupts = gateway(vm)
    this.doorbells = doorbells(vm)
    this.clock = paravirtualClock(vm)
    this.dirtyPages = dirtyPages(vm, this.memory)
  }

  /** The descriptors' own objects, for engines that take them natively. */
  get nativeMemory() {
    return this.memory.native
  }

  /** As VirtualMachine's; `make` makes a mapping that does not begin as zeroes. */
  addRam(guestAddress: number, sizeBytes: number, options: RamOptions, make?: () => NativeMapping | undefined): void {
    const { mapping } = this.memory.map(guestAddress, sizeBytes, options, make)
    translated('give the guest its memory', () =>
      this.#vm.setMemorySlot({ slot: this.#nextSlot++, guestAddress, mapping, mappingOffset: 0, sizeBytes }),
    )
  }

  clearRam(): void {
    this.memory.clear()
  }

  get ramDescriptors(): readonly number[] | undefined {
    return this.memory.sharedDescriptors
  }

  createVcpu(id: number): Vcpu {
    const vcpu: NativeVcpu = translated(`create vCPU ${id}`, () => this.#vm.createVcpu(id))
    return {
      run: threadName => translated(`start vCPU ${id}`, () => vcpu.run(threadName)),
      park: () => vcpu.park(),
      getRegisters: file => translated(`read ${file} of vCPU ${id}`, () => vcpu.getRegisters(registerFile(file))),
      setRegisters: (file, bytes) =>
        translated(`write ${file} of vCPU ${id}`, () => vcpu.setRegisters(registerFile(file), bytes)),
      setCpuid: entries => translated(`set the CPUID of vCPU ${id}`, () => vcpu.setCpuid(entries)),
      getMsrs: indices => translated(`read MSRs of vCPU ${id}`, () => vcpu.getMsrs(indices)),
      setMsrs: (indices, values) => translated(`write MSRs of vCPU ${id}`, () => vcpu.setMsrs(indices, values)),
      tscKilohertz: () => vcpu.tscKilohertz(),
      setTscKilohertz: kilohertz =>
        translated(`set the time stamp counter of vCPU ${id}`, () => vcpu.setTscKilohertz(kilohertz)),
      tscOffset: () => translated(`read the time stamp counter of vCPU ${id}`, () => vcpu.tscOffset()),
      setTscOffset: offset => translated(`set the time stamp counter of vCPU ${id}`, () => vcpu.setTscOffset(offset)),
      notifyPaused: () => vcpu.notifyPaused(),
      injectNmi: () => vcpu.injectNmi(),
      throttle: percent => translated(`slow vCPU ${id} down`, () => vcpu.throttle(percent)),
      setAffinity: hostCpus => translated(`pin vCPU ${id}`, () => vcpu.setAffinity(hostCpus)),
    }
  }

  setEvents(events: VirtualMachineEvents): void {
    this.#vm.setTrapHandlers(
      {
        read: (windowId, offset, width) => this.bus.read(windowId, offset, width),
        write: (windowId, offset, width, value) => this.bus.write(windowId, offset, width, value),
        endOfInterrupt: vector => events.endOfInterrupt(vector),
        stopped: (index, stop) => events.vcpuStopped(index, stop),
      },
      error => events.failed(error),
    )
  }

  createEventFd(): EventFd {
    return new (addon().EventFd)()
  }

  /** After close() too: what they were then. */
  exitCounters(): ExitCounters {
    return this.#lastCounters ?? this.#vm.exitCounters()
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#lastCounters = this.#vm.exitCounters()
    this.#vm.close()
    this.memory.close()
  }
}

const registerFiles = [
  'regs',
  'sregs',
  'fpu',
  'xsave',
  'xcrs',
  'lapic',
  'events',
  'debugregs',
  'mp-state',
  'nested-state',
] as const

function registerFile(name: string) {
  const found = registerFiles.find(file => file === name)
  if (found === undefined) throw new RangeError(`no register file ${name}`)
  return found
}

function gateway(vm: NativeVm): MsiGateway {
  return {
    gsiLimit: vm.checkExtension(kvmCapabilities.gsiRouting),
    createEventFd: () => new (addon().EventFd)(),
    setRoutes: routes => translated('set interrupt routes', () => vm.setGsiRoutes(routes)),
    attach: (gsi, eventFd) => translated(`attach interrupt ${gsi}`, () => vm.attachIrqfd(gsi, native(eventFd))),
    detach: (gsi, eventFd) => translated(`detach interrupt ${gsi}`, () => vm.detachIrqfd(gsi, native(eventFd))),
    signal: ({ addressLow, addressHigh, data }: MsiMessage) => vm.signalMsi(addressLow, addressHigh, data),
  }
}

function doorbells(vm: NativeVm): Doorbells {
  const doorbell = (eventFd: EventFd, address: number) => {
    // Width 0: a write of any size rings (virtio 1.2 §4.1.5.2 lets the driver write 16 or 32 bits).
    return { eventFd: native(eventFd), space: 'mmio', address, widthBytes: 0 } as const
  }
  return {
    attach: (eventFd, address) => translated('attach a doorbell', () => vm.attachDoorbell(doorbell(eventFd, address))),
    detach: (eventFd, address) => translated('detach a doorbell', () => vm.detachDoorbell(doorbell(eventFd, address))),
  }
}

/** struct kvm_clock_data: the clock comes first; without flags KVM takes it as it is. */
function paravirtualClock(vm: NativeVm): ParavirtualClock {
  const sizeBytes = 48
  return {
    readNs: () => new DataView(translated('read the clock', () => vm.clock()).buffer).getBigUint64(0, true),
    setNs: value => {
      const data = new Uint8Array(sizeBytes)
      new DataView(data.buffer).setBigUint64(0, value, true)
      translated('set the clock', () => vm.setClock(data))
    },
  }
}

function dirtyPages(vm: NativeVm, memory: MappedMemory): DirtyPages {
  return {
    get isTracking() {
      return vm.isTrackingDirtyPages
    },
    start: () => translated('track dirty pages', () => vm.startDirtyTracking(memory.native)),
    take: () => translated('take the dirty pages', () => vm.takeDirtyPages()),
    stop: () => translated('stop tracking dirty pages', () => vm.stopDirtyTracking()),
  }
}

/** Event descriptors are made by the addon, whose class they have; it checks that itself. */
function native(eventFd: EventFd): NativeEventFd {
  return eventFd
}

function translated<T>(operation: string, action: () => T): T {
  try {
    return action()
  } catch (cause) {
    if (cause instanceof TsvmmError) throw cause
    throw new TsvmmError('ERR_HYPERVISOR', { operation, reason: reasonOf(cause) }, { cause })
  }
}

function openReason(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'EACCES') return 'permission denied; add yourself to the group that owns it'
  if (code === 'ENOENT') return 'no such device; is KVM enabled in the firmware and its module loaded?'
  if (code === 'ENOTTY' || code === 'ENOTSUP') return 'not a KVM device'
  return reasonOf(cause)
}
