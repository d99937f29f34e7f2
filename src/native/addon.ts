import { bundleLocation } from '../util/bundle-location.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { addonFile } from './addon-file.ts'
import type {
  DescriptorListenerOptions,
  DescriptorSocketOptions,
  NativeDescriptorListener,
  NativeDescriptorSocket,
} from './descriptor-sockets.ts'
import type { DiskImageOptions, NativeDiskImage } from './disk-image.ts'
import type {
  BlockEngineOptions,
  MailboxEngineOptions,
  NativeBlockEngine,
  NativeEngine,
  NativeMailboxEngine,
  NativeRateLimiter,
  NetEngineOptions,
  RateLimits,
  TokenBucketLimits,
} from './engines.ts'
import type {
  MemoryImageWriterOptions,
  MemoryLayer,
  NativeMemoryImage,
  NativeMemoryImageWriter,
} from './memory-image.ts'
import type {
  DoorkeeperOptions,
  LateMemoryOptions,
  MemoryReceiverOptions,
  MemorySenderOptions,
  NativeDial,
  NativeDoorkeeper,
  NativeLateMemory,
  NativeMemoryReceiver,
  NativeMemorySender,
  NativeSocketAddress,
} from './migration.ts'
import type { NativePageServer, PageServerOptions } from './page-server.ts'

/**
 * The hand-written type of everything the addon exports: this file is the contract between both languages.
 *
 * Conventions: addresses and sizes are numbers (exact to 2^53), registers, MSRs and feature bits bigints. Every class has
 * `close()`, which is idempotent; any other call on a closed object throws. A failed system call throws an Error with
 * `code` ('EBUSY'), `errno` and `syscall` ('KVM_CREATE_VM') as Node's own do; a wrong argument throws a TypeError or
 * RangeError. Unless said otherwise every call belongs to the thread of the JavaScript environment, and callbacks arrive
 * there between other JavaScript.
 */
export interface Addon {
  readonly EventFd: new () => NativeEventFd
  readonly Mapping: new (options: MappingOptions) => NativeMapping
  readonly GuestMemory: new () => NativeGuestMemory
  readonly MemoryImageWriter: new (options: MemoryImageWriterOptions) => NativeMemoryImageWriter
  /** Newest first. EBADMSG with the layer and what is wrong with its index or its file; EINVAL for no layer. */
  readonly MemoryImage: new (
    layers: readonly MemoryLayer[],
  ) => NativeMemoryImage
  readonly PageServer: new (options: PageServerOptions) => NativePageServer
  /** EADDRINUSE, EACCES and what else listening may meet; EINVAL for an address that is none. */
  readonly Doorkeeper: new (
    options: DoorkeeperOptions,
  ) => NativeDoorkeeper
  readonly Dial: new (address: NativeSocketAddress, patienceMs: number) => NativeDial
  readonly MemorySender: new (options: MemorySenderOptions) => NativeMemorySender
  readonly MemoryReceiver: new (options: MemoryReceiverOptions) => NativeMemoryReceiver
  readonly LateMemory: new (options: LateMemoryOptions) => NativeLateMemory
  readonly Kvm: new (path: string) => NativeKvm
  readonly DiskImage: new (options: DiskImageOptions) => NativeDiskImage
  readonly RateLimiter: new (limits: RateLimits<TokenBucketLimits>) => NativeRateLimiter
  readonly BlockEngine: new (options: BlockEngineOptions) => NativeBlockEngine
  readonly NetEngine: new (options: NetEngineOptions) => NativeEngine
  readonly MailboxEngine: new (options: MailboxEngineOptions) => NativeMailboxEngine
  readonly Tap: new (options: TapOptions) => NativeTap
  /**
   * Takes an OFD lock (F_OFD_SETLK) on the whole file; it lives as long as the open file description.
   * Returns false where another holder is in the way.
   */
  lockFile(fd: number, kind: 'shared' | 'exclusive'): boolean
  unlockFile(fd: number): void
  /** Pages of the file that this host keeps in memory, and that are on the disk, are read anew (POSIX_FADV_DONTNEED). */
  forgetCached(fd: number): void
  /**
   * Two names swap what they stand for in one step (RENAME_EXCHANGE). Throws with the code ENOENT where there is nothing at
   * one of them, EINVAL where the file system cannot do that.
   */
  exchangeNames(one: string, other: string): void
  /**
   * A new pseudo terminal whose other end, at `path`, is in raw mode. The master is the caller's to close and does not
   * block; reads of it fail with EIO while nobody has the other end open.
   */
  openPty(): { masterFd: number; path: string }
  readonly DescriptorSocket: new (options: DescriptorSocketOptions) => NativeDescriptorSocket
  /** EADDRINUSE where there is something at the path, EINVAL for a socket that does not listen. */
  readonly DescriptorListener: new (
    options: DescriptorListenerOptions,
  ) => NativeDescriptorListener
  /** A connection to the socket at `path`, which is the caller's to close and does not block. */
  connectSocket(path: string): number
  /** Both ends of a connection, which are the caller's to close and do not block. */
  socketPair(): [number, number]
  /** As fs.closeSync, which in a worker warns of descriptors that came another way than through Node. */
  closeDescriptor(fd: number): void
  /** What a regular file or block device behind `fd` can do; sizes in bytes. */
  probeDisk(fd: number): { sizeBytes: number; logicalBlockBytes: number; discard: boolean; writeZeroes: boolean }
}

export interface NativeEventFd {
  readonly fd: number
  signal(): void
  isPending(): boolean
  drain(): boolean
  close(): void
}

export interface MappingOptions {
  readonly sizeBytes: number
  /** `anonymous`: MAP_PRIVATE (MAP_SHARED where `shared`); `memfd`: passable by descriptor; `file`: `path` from `fileOffset` on. */
  readonly backing: 'anonymous' | 'memfd' | 'file'
  readonly path?: string
  /** Of `memfd`: one that is there already, of just this size, which is duplicated; a new one where absent. */
  readonly memfd?: number
  readonly fileOffset?: number
  readonly shared?: boolean
  /** 0: normal pages; else 2 MiB or 1 GiB in bytes (hugetlbfs). */
  readonly hugePageBytes?: number
  /** madvise(MADV_MERGEABLE). */
  readonly mergeable?: boolean
  /** Touch all pages now, by several threads. */
  readonly prefault?: boolean
  /** madvise(MADV_HUGEPAGE), the mapping aligned to 2 MiB. */
  readonly thp?: boolean
  /** false: MAP_NORESERVE. */
  readonly reserve?: boolean
  /** mbind to this host node. */
  readonly hostNumaNode?: number
}

export interface NativeMapping {
  readonly sizeBytes: number
  /** The memfd or file; -1 for anonymous memory. */
  readonly fd: number
  /** Gives every page back to the host: it is zero from then on, also where it began as the private copy of a file. */
  discard(): void
  /** Idempotent. The mapping itself lives on until the last slot, guest memory or engine that uses it has let go. */
  close(): void
}

export interface NativeGuestMemory {
  add(guestAddress: number, mapping: NativeMapping, mappingOffset: number, sizeBytes: number): void
  remove(guestAddress: number): void
  read(guestAddress: number, lengthBytes: number): Uint8Array<ArrayBuffer>
  write(guestAddress: number, bytes: Uint8Array): void
  fill(guestAddress: number, value: number, lengthBytes: number): void
  /** Not on this thread; `fd` stays open until it is done. */
  loadFile(guestAddress: number, fd: number, fileOffset: number, lengthBytes: number): Promise<void>
  /** For changes that came another way than through this object, after they were made; what is no RAM is ignored. */
  markDirty(guestAddress: number, lengthBytes: number): void
  close(): void
}

export interface NativeKvm {
  /** KVM_CHECK_EXTENSION. */
  checkExtension(capability: number): number
  /** KVM_GET_SUPPORTED_CPUID: an array of struct kvm_cpuid_entry2 (40 bytes each), with the brand of the host's CPU. */
  supportedCpuid(): Uint8Array<ArrayBuffer>
  /** KVM_GET_MSR_INDEX_LIST: MSRs that belong to a vCPU's state. */
  msrIndices(): Uint32Array<ArrayBuffer>
  /** KVM_GET_MSR_FEATURE_INDEX_LIST. */
  featureMsrIndices(): Uint32Array<ArrayBuffer>
  /** KVM_GET_MSRS on the system descriptor. */
  featureMsrs(indices: Uint32Array): BigUint64Array<ArrayBuffer>
  createVm(): NativeVm
  close(): void
}

export interface MemorySlot {
  readonly slot: number
  readonly guestAddress: number
  readonly mapping: NativeMapping
  readonly mappingOffset: number
  readonly sizeBytes: number
  readonly readOnly?: boolean
}

/** KVM_SET_GSI_ROUTING entry of type MSI. */
export interface MsiRouteEntry {
  readonly gsi: number
  readonly addressLow: number
  readonly addressHigh: number
  readonly data: number
}

export interface Doorbell {
  readonly eventFd: NativeEventFd
  readonly space: 'pio' | 'mmio'
  readonly address: number
  /** 0 (any width, mmio only), 1, 2, 4 or 8 bytes. */
  readonly widthBytes: number
  /** Only writes of this value; all where absent. */
  readonly match?: number
}

export interface NativeSpan {
  readonly offset: number
  readonly lengthBytes: number
  readonly read: 'bytes' | 'clock' | 'ecam' | 'indexed' | 'trap'
  readonly write: 'bytes' | 'post' | 'ignore' | 'ecam' | 'change' | 'trap'
  readonly mask?: Uint8Array
  readonly clock?: { readonly hertz: number; readonly bits: number }
  readonly ecam?: { readonly address: number; readonly buses: number }
  readonly indexed?: { readonly tableOffset: number; readonly entries: number }
}

export interface NativeWindow {
  move(address: number): void
  setSpans(spans: readonly NativeSpan[]): void
  /** Ticks of the window's clock spans now, and the way to set them (restore, reset). */
  clockTicks(): bigint
  setClockTicks(ticks: bigint): void
  /** Unmaps. */
  close(): void
}

/**
 * What vCPU threads bring to JavaScript. `offset` counts from the window's start; all numbers are unsigned.
 */
export interface TrapHandlers {
  read(windowId: number, offset: number, width: 1 | 2 | 4): number
  /** Trapped and posted writes. */
  write(windowId: number, offset: number, width: 1 | 2 | 4, value: number): void
  /** KVM_EXIT_IOAPIC_EOI: the guest ended a level-triggered interrupt of the userspace IOAPIC. */
  endOfInterrupt(vector: number): void
  /**
   * The vCPU left KVM_RUN for good and parked itself: a guest shutdown (triple fault), an internal error, a failed entry, a
   * system event, or an errno of KVM_RUN. `detail` has the exit's own fields as numbers.
   */
  stopped(vcpuIndex: number, stop: VcpuStop): void
}

export interface VcpuStop {
  readonly kind: 'shutdown' | 'internal-error' | 'fail-entry' | 'system-event' | 'run-error' | 'unhandled'
  /** internal-error: suberror and data; fail-entry: reason, cpu; system-event: type; run-error: errno; unhandled: exit reason. */
  readonly detail: readonly number[]
}

export interface NativeVm {
  /** KVM_ENABLE_CAP with up to four arguments. */
  enableCapability(capability: number, args?: readonly number[]): void
  checkExtension(capability: number): number
  /** x86: KVM_SET_TSS_ADDR and KVM_SET_IDENTITY_MAP_ADDR. */
  setTssAddress(address: number): void
  setIdentityMapAddress(address: number): void
  setMemorySlot(slot: MemorySlot): void
  removeMemorySlot(slot: number): void
  /**
   * Begins to track which pages are written: by vCPUs through slots, and in `memory` by engines and this process. After
   * an error nothing is tracked. EALREADY where it, or another machine with the same memory, does so already; ENOTSUP
   * where KVM has no manual protection (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2).
   */
  startDirtyTracking(memory: NativeGuestMemory): void
  /**
   * The pages written since the start or the last call: one bit for each 4096 bytes of the ranges of `memory`, ascending,
   * one right behind the other; little-endian, in whole 64-bit words. A page that is written meanwhile is in this answer
   * or in the next. Memory added since, and what a slot that was removed or replaced has had, counts as written. After an
   * error nothing is lost: the next call has it. EINVAL while nothing is tracked.
   */
  takeDirtyPages(): Uint8Array<ArrayBuffer>
  /** Idempotent. Also where it throws nothing is tracked any more. */
  stopDirtyTracking(): void
  readonly isTrackingDirtyPages: boolean
  /** Replaces the whole table. */
  setGsiRoutes(routes: readonly MsiRouteEntry[]): void
  signalMsi(addressLow: number, addressHigh: number, data: number): void
  attachIrqfd(gsi: number, eventFd: NativeEventFd): void
  detachIrqfd(gsi: number, eventFd: NativeEventFd): void
  attachDoorbell(doorbell: Doorbell): void
  detachDoorbell(doorbell: Doorbell): void
  /** KVM_GET_CLOCK and KVM_SET_CLOCK: struct kvm_clock_data. */
  clock(): Uint8Array<ArrayBuffer>
  setClock(data: Uint8Array): void
  /**
   * Must be called once, before the first vCPU runs. A handler that throws stops the machine: every vCPU is parked, waiting
   * traps are answered with ones, no handler but `stopped` is called again, and `onError` gets the error. What `onError` or
   * a later handler throws is an uncaught exception.
   */
  setTrapHandlers(handlers: TrapHandlers, onError: (error: unknown) => void): void
  /**
   * Maps a window; RangeError where it overlaps another, or where spans overlap, are not ascending or leave it. `windowId` is
   * what handlers are called with. A posted write may still arrive after the window was closed. `bytes` must not be
   * detached while a vCPU can see them.
   */
  mapWindow(
    space: 'pio' | 'mmio',
    address: number,
    bytes: Uint8Array<ArrayBuffer>,
    spans: readonly NativeSpan[],
    windowId: number,
  ): NativeWindow
  createVcpu(id: number): NativeVcpu
  /**
   * Accesses that left the kernel, all vCPUs together, by how they were answered; one that is cut at the border of windows
   * or spans, or into 4 bytes, counts once a piece. `trapWaits` counts the traps for which the vCPU slept; `wakeups` the
   * times the JavaScript thread had to be woken.
   */
  exitCounters(): {
    bytes: number
    clock: number
    posted: number
    ignored: number
    trapped: number
    unmapped: number
    trapWaits: number
    wakeups: number
  }
  close(): void
}

/** Register files of a vCPU, each as its raw kernel structure (see native/kvm/register_files.h for the list). */
export type RegisterFile =
  | 'regs'
  | 'sregs'
  | 'fpu'
  | 'xsave'
  | 'xcrs'
  | 'lapic'
  | 'events'
  | 'debugregs'
  | 'mp-state'
  | 'nested-state'

/** Register files, MSRs and CPUID may only be touched while the vCPU is parked (it is, until the first `run`). */
export interface NativeVcpu {
  /**
   * Starts the thread (named `threadName`, at most 15 bytes) or lets a parked one go on. Idempotent. Throws without trap
   * handlers, after one of them has thrown, while a park is under way, and (EINVAL) where it may run on no CPU. A running
   * vCPU keeps the process alive.
   */
  run(threadName: string): void
  /**
   * Resolves, never from inside the call, when the thread is out of KVM_RUN, any instruction that asked for an access is
   * completed, and whatever was posted before is delivered. Idempotent; resolves too when the VM is closed meanwhile.
   */
  park(): Promise<void>
  readonly isParked: boolean
  getRegisters(file: RegisterFile): Uint8Array<ArrayBuffer>
  setRegisters(file: RegisterFile, bytes: Uint8Array): void
  setCpuid(entries: Uint8Array): void
  /** KVM_GET_MSRS: as many values as KVM reads before the first index that it refuses. */
  getMsrs(indices: Uint32Array): BigUint64Array<ArrayBuffer>
  setMsrs(indices: Uint32Array, values: BigUint64Array): void
  tscKilohertz(): number
  setTscKilohertz(kilohertz: number): void
  /** KVM_VCPU_TSC_OFFSET: what is added to the host's counter, modulo 2^64; undefined where the kernel does not tell. */
  tscOffset(): bigint | undefined
  setTscOffset(offset: bigint): void
  /** KVM_KVMCLOCK_CTRL: the guest's watchdogs do not mind the time that it misses. Nothing where it has not KVM's clock on. */
  notifyPaused(): void
  /** KVM_NMI. */
  injectNmi(): void
  /** sched_setaffinity of its thread, also for a thread yet to start. */
  setAffinity(hostCpus: readonly number[]): void
  /** From now on it does not run for so many percent of the time, 0 to 99. It need not be parked. */
  throttle(percent: number): void
}

export interface TapOptions {
  /** Existing or new interface; absent or with '%d': the kernel picks a name. */
  readonly name?: string
  /** Or descriptors of already opened tap queues. Duplicated. */
  readonly fds?: readonly number[]
  readonly queuePairs: number
}

export interface NativeTap {
  readonly name: string
  readonly fds: readonly number[]
  /** Whether this object created the interface: then closing it removes it. */
  readonly created: boolean
  /** TUNSETOFFLOAD flags. */
  setOffloads(flags: number): void
  setIpv4(address: string, mask: string): void
  setMac(mac: Uint8Array): void
  mac(): Uint8Array<ArrayBuffer>
  setMtu(mtu: number): void
  mtu(): number
  setUp(): void
  close(): void
}

let loaded: Addon | undefined

/** The addon, loaded at first use. `TSVMM_ADDON` names another build of it. */
export function addon(): Addon {
  loaded ??= load()
  return loaded
}

/** The next use loads it anew: for a startup snapshot, which cannot have it. */
export function forgetAddon(): void {
  loaded = undefined
}

function load(): Addon {
  const path = process.env['TSVMM_ADDON'] ?? addonFile(bundleLocation.folder, process)
  const module: { exports: Partial<Addon> } = { exports: {} }
  try {
    process.dlopen(module, path)
  } catch (cause) {
    throw new TsvmmError('ERR_ADDON', { reason: reasonOf(cause) }, { cause })
  }
  const { exports } = module
  if (!isAddon(exports)) throw new Error(`${path} is not the addon`)
  return exports
}

function isAddon(exports: Partial<Addon>): exports is Addon {
  return exports.Kvm !== undefined
}
