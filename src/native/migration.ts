import type { NativeGuestMemory } from './addon.ts'

/*
 * What a migration moves over connections. docs/migration-protocol.md describes what goes over them. Descriptors that are
 * handed over are taken over: also where the call throws they are closed by it.
 */

/** A path of a Unix socket, or an address of the network in figures: `192.0.2.1`, `2001:db8::1`, `fe80::1%eth0`. */
export type NativeSocketAddress = { readonly path: string } | { readonly host: string; readonly port: number }

export interface DoorkeeperOptions {
  /**
   * Where to listen; absent where connections come through `admit` alone. A socket file that nobody listens at is taken over,
   * EADDRINUSE else; it is gone with the doorkeeper.
   */
  readonly address?: NativeSocketAddress
  /** How many bytes of each connection are read before it is let in, at most 4096; 0 where absent. */
  readonly greetingBytes?: number
  /** A connection that has not greeted by then is closed; 10 s where absent. */
  readonly patienceMs?: number
  /** `fd` is the callee's: a stream socket that does not block. What came behind the greeting is still unread. */
  onConnection(fd: number, greeting: Uint8Array<ArrayBuffer>): void
}

/** Lets connections in, as a thread of its own does; it keeps the process alive while it is open, until `unref`. */
export interface NativeDoorkeeper {
  /** Of the address, which may have said 0; 0 for a path. */
  readonly port: number
  /** As if it had been accepted. */
  admit(fd: number): void
  unref(): void
  /** Those that are waiting are closed. */
  close(): void
}

/** A connection that is being made. */
export interface NativeDial {
  /** A stream socket that does not block. Rejects with ETIMEDOUT, ECANCELED or why it could not be made. */
  socket(): Promise<number>
  cancel(): void
}

interface TransferOptions {
  /** The ranges that it has now. */
  readonly memory: NativeGuestMemory
  /** Connections; each is served by a thread. Both sides have as many, in any order. */
  readonly sockets: readonly number[]
  /** A transfer that gets nowhere for so long has failed with ETIMEDOUT; 0, where absent: never. */
  readonly stallMs?: number
}

export interface MemorySenderOptions extends TransferOptions {
  /** How much of what was sent is kept to send changes only; 0 where absent. */
  readonly deltaBytes?: number
  /** All connections together; 0, where absent: as fast as can be. */
  readonly bytesPerSecond?: number
}

export interface MemorySenderCounters {
  /** Of the pass. */
  readonly pagesDone: number
  readonly pagesTotal: number
  /** All passes together: pages that are zero, that are as they were sent last, that were sent as changes, and whole. */
  readonly zeroPages: number
  readonly samePages: number
  readonly deltaPages: number
  readonly wholePages: number
  readonly bytesSent: number
}

export interface NativeMemorySender {
  /**
   * Sends the pages whose bit is set (one bit a page, as NativeVm.takeDirtyPages). `first`: nobody has sent any yet, and the
   * receiver's memory is zero; once. Resolves when the receiver has them in its memory; after a failure, with the code of what
   * the sockets said, ECANCELED after `cut`, all connections are cut. EBUSY while one is under way. The guest may run.
   */
  send(pass: 'first' | 'again', pages: Uint8Array): Promise<void>
  /**
   * These pages of memory that stands still have not arrived, and the receiver's machine runs: what it asks for over this
   * connection is sent over it at once, until the connection ends. Once, after all passes. `stallMs`: as of the options.
   */
  answer(fd: number, stallMs: number, pages: Uint8Array): void
  /** The rest of them, as `send` does. */
  sendRest(): Promise<void>
  counters(): MemorySenderCounters
  setLimit(bytesPerSecond: number): void
  /** Ends the connections. */
  cut(): void
  close(): void
}

export interface MemoryReceiverOptions extends TransferOptions {
  /** All connections are through with this pass, counted from 1, and its pages are in memory. */
  onPass(pass: number): void
  /** Nothing more is received; once. EBADMSG: what came is not what a sender writes. */
  onFailure(error: Error): void
  /** What comes is for it. */
  readonly late?: NativeLateMemory
}

/** Writes what comes into memory that is zero and that nobody else uses, or is for a NativeLateMemory. */
export interface NativeMemoryReceiver {
  counters(): { readonly bytesReceived: number; readonly pagesReceived: number }
  close(): void
}

export interface LateMemoryOptions {
  readonly memory: NativeGuestMemory
  /** A bit a page: what is there of them is thrown away. */
  readonly missing: Uint8Array
  /** What comes to this one, which has received the memory so far, is for it from now on. */
  readonly receiver?: NativeMemoryReceiver
  /** Everything is there; once. */
  onComplete(): void
  /** Nobody can be asked over this connection any more. */
  onFailure(error: Error): void
}

/**
 * Memory of a machine that runs, and whose last pages are still to come: whoever touches a missing one waits for it. The
 * JavaScript thread is given zeroes as long as nobody can be asked. Making it fails where the host has no userfaultfd for that
 * memory. Its owner closes it.
 */
export interface NativeLateMemory {
  /** Where pages are asked for from now on. */
  askAt(fd: number, stallMs: number): void
  /** As in the options. */
  missing(): Uint8Array<ArrayBuffer>
  counters(): { readonly pagesMissing: number; readonly faults: number }
  /** Nobody waits any more: what is missing is zero. The machine has to be given up for that. */
  abandon(): void
  close(): void
}
