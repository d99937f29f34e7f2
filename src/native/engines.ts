import type { NativeEventFd, NativeGuestMemory } from './addon.ts'
import type { NativeDiskImage } from './disk-image.ts'

/** A virtqueue as negotiated (virtio 1.2 §2.7): guest-physical addresses, sizes in entries. */
export interface Vring {
  /** The queue's index in the device. */
  readonly index: number
  readonly sizeEntries: number
  readonly descriptorTable: number
  readonly availableRing: number
  readonly usedRing: number
  /** Where to go on; both 0 for a queue never started. */
  readonly nextAvailable: number
  readonly nextUsed: number
  /** The guest's notifications. */
  readonly doorbell: NativeEventFd
  /** Signalled for the guest. */
  readonly interrupt: NativeEventFd
}

export interface VringPosition {
  readonly index: number
  readonly nextAvailable: number
  readonly nextUsed: number
}

export interface EngineOptions {
  /** Threads are called `<name>_q<i>` or `<name>_qp<i>`. */
  readonly name: string
  readonly memory: NativeGuestMemory
  /**
   * A queue is malformed (descriptor loop, address outside guest memory, oversized chain, bad used index): it is not
   * processed further and nothing was written outside guest memory. The device sets DEVICE_NEEDS_RESET.
   */
  onFailure(queueIndex: number, reason: string): void
}

/** A disk whose bytes are those of a file or block device. */
export interface FileDisk {
  /** Stays open, owned by the caller, until the engine is closed. */
  readonly fd: number
  readonly sizeBytes: number
  readonly readOnly: boolean
  /** Opened with O_DIRECT: buffers not aligned to this many bytes go through a bounce buffer. 1 where not direct. */
  readonly alignmentBytes: number
  /** Whether deallocated space stays sparse. false: discard is accepted and does nothing, write zeroes writes. */
  readonly sparse: boolean
}

/** Tokens that fill again: none of both is 0, `refillMs` is what it takes from empty to full. */
export interface TokenBucketLimits {
  readonly size: number
  /** What there is on top of a full bucket, once. */
  readonly oneTimeBurst: number
  readonly refillMs: number
}

/** What is left: a budget below 0 was taken in advance, and is at least -(2^53 - 1). */
export interface TokenBucketLevel {
  readonly burst: number
  readonly budget: number
}

/** Of bytes and of operations; what is absent has no limit. */
export interface RateLimits<Bucket> {
  readonly bytes?: Bucket | undefined
  readonly operations?: Bucket | undefined
}

/** How much all engines that share it may do in a time. Any number of them, running or not. */
export interface NativeRateLimiter {
  levels(): RateLimits<TokenBucketLevel>
  /** What is more than the limits allow is cut. */
  setLevels(levels: RateLimits<TokenBucketLevel>): void
}

export type BlockEngineOptions = EngineOptions & {
  readonly limiter?: NativeRateLimiter
  /** At most 20 bytes: what VIRTIO_BLK_T_GET_ID answers. */
  readonly serial: Uint8Array
  /** Something is wrong with the image, told once: the guest gets I/O errors where that is. */
  onFault(reason: string): void
} & (FileDisk | { readonly image: NativeDiskImage })

export interface NetEngineOptions extends EngineOptions {
  /** One tap queue descriptor per pair, non-blocking, IFF_VNET_HDR with a 12-byte header. Stay owned by the caller. */
  readonly tapFds: readonly number[]
  readonly receiveLimiter?: NativeRateLimiter
  readonly transmitLimiter?: NativeRateLimiter
}

/** Moves payload between a device's virtqueues and its host side in native threads. */
export interface NativeEngine {
  /**
   * Validates the rings' addresses (throws RangeError) and starts. `features` are the driver's acknowledged bits (event
   * index, indirect descriptors, FLUSH, CONFIG_WCE, MRG_RXBUF, ...). For net, pairs beyond `activePairs` stay idle.
   */
  start(vrings: readonly Vring[], features: bigint): void
  /** Net: receive and transmit on this many pairs from now on. Block: 0 = write-through, 1 = writeback. */
  setMode(value: number): void
  /** Finishes what is in flight and stops touching guest memory. Idempotent; [] where it was not running. */
  stop(): Promise<VringPosition[]>
  /**
   * Block: read_bytes, read_ops, and from read_latency_min to read_latency_avg microseconds, 0 as long as there was none; the same of
   * write; net: rx_bytes, rx_frames, tx_bytes, tx_frames.
   */
  counters(): Record<string, bigint>
  /** Stops without waiting for the guest; in-flight host I/O is finished or cancelled first. */
  close(): void
}

export interface NativeBlockEngine extends NativeEngine {
  /** The file of a raw disk has so many bytes by now: more, or RangeError. */
  grow(sizeBytes: number): void
}

export interface MailboxEngineOptions extends EngineOptions {
  /**
   * One descriptor chain: `head` names it, `readable` holds a copy of its device-readable bytes, `writableBytes` says how
   * much may be answered. Must be completed exactly once, now or later, in any order; chains go back to the guest in the
   * order in which it offered them. What is not completed at stop() is offered again, under another name, by the next
   * start().
   */
  onChain(queueIndex: number, head: number, readable: Uint8Array<ArrayBuffer>, writableBytes: number): void
  /** Chains with more readable bytes than this are failures. */
  readonly maximumReadableBytes: number
}

/** Walks queues in native code and brings whole chains to JavaScript: for devices with little traffic. */
export interface NativeMailboxEngine extends NativeEngine {
  /**
   * Writes `bytes` into the chain's device-writable part (RangeError where longer) and returns it to the guest. Does
   * nothing for a chain of before the last stop(), nor after close(); RangeError where no such chain is out.
   */
  complete(queueIndex: number, head: number, bytes: Uint8Array): void
}
