import type { EventFd } from '../memory/event-fd.ts'

/** A virtqueue as the driver has set it up (virtio 1.2 §2.7), with the events of both directions. */
export interface Vring {
  readonly index: number
  readonly sizeEntries: number
  readonly descriptorTable: number
  readonly availableRing: number
  readonly usedRing: number
  /** Where to go on; both 0 for a queue that has never run. */
  readonly nextAvailable: number
  readonly nextUsed: number
  readonly doorbell: EventFd
  readonly interrupt: EventFd
}

export interface VringPosition {
  readonly index: number
  readonly nextAvailable: number
  readonly nextUsed: number
}

/** What serves a device's virtqueues: a native engine, a vhost device, or the mailbox that brings chains to TypeScript. */
export interface QueueBackend {
  /**
   * Throws RangeError where a ring does not lie in guest memory, and an error with a code where the host has not what it
   * takes; what was started by then ends with `stop`.
   */
  start(vrings: readonly Vring[], features: bigint): void
  /** Finishes what is in flight; [] where it was not running. */
  stop(): Promise<readonly VringPosition[]>
  counters(): Record<string, bigint>
  close(): void
}

/** A back end that hands whole descriptor chains over. */
export interface MailboxBackend extends QueueBackend {
  complete(queueIndex: number, head: number, bytes: Uint8Array): void
}

export interface MailboxHandlers {
  /** `readable` is a copy of what the driver sent; answer with `complete`, once, now or later. */
  onChain(queueIndex: number, head: number, readable: Uint8Array, writableBytes: number): void
  onFailure(queueIndex: number, reason: string): void
}
