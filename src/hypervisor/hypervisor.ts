import type { Bus } from '../bus/bus.ts'
import type { MsiGateway } from '../interrupts/routes.ts'
import type { EventFd } from '../memory/event-fd.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'

/** How host memory backs a run of guest RAM; the fields are explained in the reference of `--memory`. */
export interface RamOptions {
  readonly shared: boolean
  readonly hugePageBytes: number
  readonly mergeable: boolean
  readonly prefault: boolean
  readonly thp: boolean
  readonly reserve: boolean
}

/** Where a guest's write becomes an event without an exit. */
export interface Doorbells {
  attach(eventFd: EventFd, address: number): void
  detach(eventFd: EventFd, address: number): void
}

/** Why a vCPU left the guest for good. */
export interface VcpuStop {
  readonly kind: 'shutdown' | 'internal-error' | 'fail-entry' | 'system-event' | 'run-error' | 'unhandled'
  readonly detail: readonly number[]
}

/** The clock that the hypervisor itself shows to guests, in nanoseconds since the machine was made. vCPUs are parked. */
export interface ParavirtualClock {
  readNs(): bigint
  setNs(value: bigint): void
}

/**
 * Which pages of RAM were written, by vCPUs, by engines and by this process. One question at a time: whoever takes the
 * pages is the only one who learns of them.
 */
export interface DirtyPages {
  readonly isTracking: boolean
  /** Throws ERR_HYPERVISOR where it is tracking already, or the hypervisor cannot; then nothing is tracked. */
  start(): void
  /**
   * The pages written since start() or the last call: one bit for each 4096 bytes of the ranges of the machine's memory,
   * ascending, one right behind the other; little-endian, in whole 64-bit words. RAM that was added since counts as
   * written. While the guest runs, a page that is written meanwhile is in this answer or the next: take first, then copy.
   * After an error nothing is lost, the next call has it. Throws ERR_HYPERVISOR while it is not tracking.
   */
  take(): Uint8Array<ArrayBuffer>
  /** Idempotent. */
  stop(): void
}

export interface VirtualMachineEvents {
  /** A level-triggered interrupt of a userspace interrupt controller was ended. */
  endOfInterrupt(vector: number): void
  /** A vCPU parked itself; its registers may be read. */
  vcpuStopped(index: number, stop: VcpuStop): void
  /** A device's handler threw: every vCPU is being parked. */
  failed(error: unknown): void
}

/** A virtual machine of a hypervisor: memory, vCPUs, and the ways in and out. What is specific to a CPU is bytes here. */
export interface VirtualMachine {
  readonly memory: GuestMemory
  readonly bus: Bus
  readonly interrupts: MsiGateway
  readonly doorbells: Doorbells
  readonly clock: ParavirtualClock
  readonly dirtyPages: DirtyPages
  /** Backs [guestAddress, guestAddress + sizeBytes) with host memory. Throws ERR_MEMORY. */
  addRam(guestAddress: number, sizeBytes: number, options: RamOptions): void
  /** Gives all of it back to the host: it reads as zeroes. */
  clearRam(): void
  createVcpu(id: number): Vcpu
  setEvents(events: VirtualMachineEvents): void
  createEventFd(): EventFd
  exitCounters(): ExitCounters
  /** Stops and joins every vCPU and gives everything back. Idempotent. */
  close(): void
}

/** Exits that left the kernel, by how they were answered. */
export interface ExitCounters {
  readonly bytes: number
  readonly clock: number
  readonly posted: number
  readonly ignored: number
  readonly trapped: number
  readonly unmapped: number
  readonly trapWaits: number
  readonly wakeups: number
}

/** A virtual CPU; all but run, park and throttle only while it is parked, as it is at first. */
export interface Vcpu {
  run(threadName: string): void
  park(): Promise<void>
  getRegisters(file: string): Uint8Array<ArrayBuffer>
  setRegisters(file: string, bytes: Uint8Array): void
  setCpuid(entries: Uint8Array): void
  getMsrs(indices: Uint32Array): BigUint64Array<ArrayBuffer>
  setMsrs(indices: Uint32Array, values: BigUint64Array): void
  tscKilohertz(): number
  /** Throws where the host can neither run nor scale to it. */
  setTscKilohertz(kilohertz: number): void
  /** What is added to the host's time stamp counter, modulo 2^64; undefined where the hypervisor does not tell. */
  tscOffset(): bigint | undefined
  setTscOffset(offset: bigint): void
  notifyPaused(): void
  injectNmi(): void
  setAffinity(hostCpus: readonly number[]): void
  /** From now on it does not run for so many percent of the time, 0 to 99. */
  throttle(percent: number): void
}
