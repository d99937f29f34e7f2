import { SoftwareBus, type SoftwareBusOptions } from '../bus/software-bus.ts'
import { FakeGateway } from '../interrupts/testing/fake-gateway.ts'
import type { EventFd } from '../memory/event-fd.ts'
import { SoftwareMemory } from '../memory/testing/software-memory.ts'
import { TsvmmError } from '../util/errors.ts'
import type {
  DirtyPages,
  Doorbells,
  ExitCounters,
  Vcpu,
  VcpuStop,
  VirtualMachine,
  VirtualMachineEvents,
} from './hypervisor.ts'

/** What a scripted vCPU does next, in the guest's place. */
export type Exit = (machine: FakeVirtualMachine) => VcpuStop | undefined

/** Exits for scripts. */
export const exits = {
  write:
    (space: 'pio' | 'mmio', address: number, width: 1 | 2 | 4, value: number): Exit =>
    machine => {
      machine.bus.write(space, address, width, value)
      return undefined
    },
  /** Reads and hands the value to `take`. */
  read:
    (space: 'pio' | 'mmio', address: number, width: 1 | 2 | 4, take: (value: number) => void): Exit =>
    machine => {
      take(machine.bus.read(space, address, width))
      return undefined
    },
  endOfInterrupt:
    (vector: number): Exit =>
    machine => {
      machine.events.endOfInterrupt(vector)
      return undefined
    },
  /** Writes where a doorbell may be attached. */
  ring:
    (address: number): Exit =>
    machine => {
      machine.ring(address)
      return undefined
    },
  stop: (stop: VcpuStop): Exit => {
    return () => stop
  },
} as const

/**
 * A virtual machine without a hypervisor, for unit tests of machines. Its vCPUs do what their scripts say, one exit a turn
 * of the event loop while they run; registers are kept as they were written.
 */
export class FakeVirtualMachine implements VirtualMachine {
  readonly memory = new SoftwareMemory()
  readonly bus: SoftwareBus
  readonly interrupts = new FakeGateway()
  readonly doorbells: Doorbells
  readonly dirtyPages: DirtyPages
  readonly vcpus: FakeVcpu[] = []
  readonly clock = { nowNs: 0n, readNs: () => this.clock.nowNs, setNs: (value: bigint) => this.#setClock(value) }
  readonly ramDescriptors = undefined
  isClosed = false
  #events: VirtualMachineEvents | undefined
  readonly #doorbells = new Map<number, EventFd>()

  constructor(options: SoftwareBusOptions = {}) {
    this.bus = new SoftwareBus(options)
    this.dirtyPages = dirtyPages(this.memory)
    this.doorbells = {
      attach: (eventFd, address) => {
        if (this.#doorbells.has(address)) throw new Error(`KVM_IOEVENTFD: 0x${address.toString(16)} is taken`)
        this.#doorbells.set(address, eventFd)
      },
      detach: (eventFd, address) => {
        if (this.#doorbells.get(address) !== eventFd) throw new Error('KVM_IOEVENTFD: no such doorbell')
        this.#doorbells.delete(address)
      },
    }
  }

  get events(): VirtualMachineEvents {
    if (this.#events === undefined) throw new Error('setEvents comes before the first vCPU runs')
    return this.#events
  }

  addRam(guestAddress: number, sizeBytes: number): void {
    this.memory.add(guestAddress, sizeBytes)
  }

  clearRam(): void {
    this.memory.clear()
  }

  createVcpu(id: number): FakeVcpu {
    const vcpu = new FakeVcpu(id, this.vcpus.length, this)
    this.vcpus.push(vcpu)
    return vcpu
  }

  setEvents(events: VirtualMachineEvents): void {
    this.#events = events
  }

  createEventFd(): EventFd {
    return this.interrupts.createEventFd()
  }

  exitCounters(): ExitCounters {
    return { ...this.bus.counters, trapWaits: 0, wakeups: 0 }
  }

  /** A guest's write to `address` of the memory space: an event where a doorbell is, nothing elsewhere. */
  ring(address: number): void {
    this.#doorbells.get(address)?.signal()
  }

  close(): void {
    this.isClosed = true
    for (const vcpu of this.vcpus) vcpu.halt()
  }

  #setClock(value: bigint): void {
    this.clock.nowNs = value
  }
}

function dirtyPages(memory: SoftwareMemory): DirtyPages {
  const refuse = (operation: string, reason: string) => new TsvmmError('ERR_HYPERVISOR', { operation, reason })
  return {
    get isTracking() {
      return memory.isTrackingDirtyPages
    },
    start: () => {
      if (memory.isTrackingDirtyPages) throw refuse('track dirty pages', 'it is tracking already')
      memory.trackDirtyPages()
    },
    take: () => {
      if (!memory.isTrackingDirtyPages) throw refuse('take the dirty pages', 'it is not tracking')
      return memory.takeDirtyPages()
    },
    stop: () => memory.stopTrackingDirtyPages(),
  }
}

export class FakeVcpu implements Vcpu {
  readonly id: number
  /** What is still to be done; tests put exits in at any time. */
  readonly script: Exit[] = []
  readonly registers = new Map<string, Uint8Array>()
  readonly msrs = new Map<number, bigint>()
  readonly refusedMsrs = new Set<number>()
  readonly unreadableMsrs = new Set<number>()
  /** Undefined as with kernels that do not tell. */
  offset: bigint | undefined = 0n
  cpuid: Uint8Array = new Uint8Array(0)
  threadName: string | undefined
  affinity: readonly number[] = []
  throttlePercent = 0
  injectedNmis = 0
  pauseNotifications = 0
  isRunning = false
  readonly #index: number
  readonly #machine: FakeVirtualMachine
  #turn: NodeJS.Immediate | undefined
  #tscKilohertz = 1_000_000

  constructor(id: number, index: number, machine: FakeVirtualMachine) {
    this.id = id
    this.#index = index
    this.#machine = machine
  }

  run(threadName: string): void {
    this.threadName ??= threadName
    if (this.isRunning) return
    this.isRunning = true
    this.#schedule()
  }

  async park(): Promise<void> {
    this.halt()
    // The last exit is complete, and what it posted delivered.
    this.#machine.bus.deliverPosted()
  }

  /** Resolves once the script is through, or the vCPU parked. */
  async settled(): Promise<void> {
    while (this.isRunning && this.script.length > 0) await new Promise(resolve => setImmediate(resolve))
  }

  halt(): void {
    this.isRunning = false
    clearImmediate(this.#turn)
  }

  getRegisters(file: string): Uint8Array<ArrayBuffer> {
    this.#mustBeParked()
    return Uint8Array.from(this.registers.get(file) ?? new Uint8Array(registerFileBytes[file] ?? 0))
  }

  setRegisters(file: string, bytes: Uint8Array): void {
    this.#mustBeParked()
    this.registers.set(file, Uint8Array.from(bytes))
  }

  setCpuid(entries: Uint8Array): void {
    this.#mustBeParked()
    this.cpuid = Uint8Array.from(entries)
  }

  getMsrs(indices: Uint32Array): BigUint64Array<ArrayBuffer> {
    this.#mustBeParked()
    const refused = indices.findIndex(index => this.unreadableMsrs.has(index))
    const readable = refused === -1 ? indices : indices.subarray(0, refused)
    return BigUint64Array.from([...readable], index => this.msrs.get(index) ?? 0n)
  }

  setMsrs(indices: Uint32Array, values: BigUint64Array): void {
    this.#mustBeParked()
    for (const [place, index] of indices.entries()) {
      if (this.refusedMsrs.has(index)) throw new Error(`KVM_SET_MSRS: 0x${index.toString(16)}`)
      this.msrs.set(index, values[place] ?? 0n)
    }
  }

  tscKilohertz(): number {
    return this.#tscKilohertz
  }

  setTscKilohertz(kilohertz: number): void {
    this.#mustBeParked()
    this.#tscKilohertz = kilohertz
  }

  /** The counter is what was written to its MSR, moved by this; it stands still. */
  tscOffset(): bigint | undefined {
    this.#mustBeParked()
    return this.offset
  }

  setTscOffset(offset: bigint): void {
    this.#mustBeParked()
    this.msrs.set(
      timeStampCounter,
      BigInt.asUintN(64, (this.msrs.get(timeStampCounter) ?? 0n) + offset - (this.offset ?? 0n)),
    )
    this.offset = offset
  }

  notifyPaused(): void {
    this.#mustBeParked()
    this.pauseNotifications += 1
  }

  injectNmi(): void {
    this.#mustBeParked()
    this.injectedNmis += 1
  }

  setAffinity(hostCpus: readonly number[]): void {
    this.affinity = hostCpus
  }

  throttle(percent: number): void {
    this.throttlePercent = percent
  }

  #schedule(): void {
    this.#turn = setImmediate(() => this.#step())
  }

  #step(): void {
    const exit = this.script.shift()
    try {
      const stop = exit?.(this.#machine)
      if (stop !== undefined) {
        this.halt()
        this.#machine.bus.deliverPosted()
        this.#machine.events.vcpuStopped(this.#index, stop)
      }
    } catch (error) {
      for (const vcpu of this.#machine.vcpus) vcpu.halt()
      this.#machine.events.failed(error)
    }
    // An empty script is a halted guest; it need not keep the test's process alive.
    if (this.isRunning) this.#schedule()
    if (this.script.length === 0) this.#turn?.unref()
  }

  #mustBeParked(): void {
    if (this.isRunning) throw new Error('the vCPU is running')
  }
}

const timeStampCounter = 0x10

/** Sizes of the kernel's structures, for files that nobody has written yet. */
const registerFileBytes: Readonly<Record<string, number>> = {
  regs: 144,
  sregs: 312,
  fpu: 416,
  xsave: 4096,
  xcrs: 392,
  lapic: 1024,
  events: 64,
  debugregs: 128,
  'mp-state': 4,
  'nested-state': 128,
}
