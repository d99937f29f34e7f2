/** The guest's RAM on its way over connections; pages and bitmaps are those of image space (ram-image.ts). */

/** Descriptors of stream sockets, one for each connection; both sides have as many. They are the transfer's from then on. */
interface RamTransferOptions {
  readonly sockets: readonly number[]
  /** A transfer that gets nowhere for so long has failed; 0: never. */
  readonly stallMs: number
}

export interface RamSenderOptions extends RamTransferOptions {
  /** How much of what was sent is kept to send changes only. */
  readonly deltaBytes: number
  /** 0: as fast as can be. */
  readonly bytesPerSecond: number
}

export interface RamSenderCounters {
  /** Of the pass. */
  readonly pagesDone: number
  readonly pagesTotal: number
  /** Of all passes: zero, as they were sent last, sent as changes, and whole. */
  readonly zeroPages: number
  readonly samePages: number
  readonly deltaPages: number
  readonly wholePages: number
  readonly bytesSent: number
}

export interface RamSender {
  /**
   * Sends pages, all in the `first` pass; resolves when the receiver has them in its memory. The guest may run. Rejects with the
   * code of what the sockets said, ECANCELED after cut(); then nothing more can be sent.
   */
  send(pass: 'first' | 'again', pages: Uint8Array): Promise<void>
  /**
   * The memory stands still, and the receiver's machine runs without these pages: what it asks for over this connection is sent at
   * once. The descriptor is the sender's from then on. Once.
   */
  answer(fd: number, stallMs: number, pages: Uint8Array): void
  /** The rest of those pages, as send(). */
  sendRest(): Promise<void>
  counters(): RamSenderCounters
  setLimit(bytesPerSecond: number): void
  cut(): void
  close(): void
}

export interface RamReceiverOptions extends RamTransferOptions {
  /** What was sent in this pass, counted from 1, is in memory. */
  onPass(pass: number): void
  /** Nothing more is received; once. */
  onFailure(error: Error): void
}

/** Writes what comes into memory that is zero and that nobody else uses. */
export interface RamReceiver {
  counters(): { readonly bytesReceived: number; readonly pagesReceived: number }
  close(): void
}

export interface LateRamOptions {
  /** What has not arrived: what there is of it is thrown away. */
  readonly missing: Uint8Array
  /** What has received the memory so far: what comes there is for it from now on. */
  readonly receiver?: RamReceiver
  /** All of it has arrived; once. */
  onComplete(): void
  /** Nobody answers over this connection any more. */
  onFailure(error: Error): void
}

/** RAM of a machine that goes on before all of it is there: whoever touches a missing page waits for it. */
export interface LateRam {
  /** Over new connections: what comes there is for it. */
  createReceiver(options: RamReceiverOptions): RamReceiver
  /** Where missing pages are asked for from now on; the descriptor is its own. */
  askAt(fd: number, stallMs: number): void
  /** What has not arrived. */
  missing(): Uint8Array
  /** The machine is given up: its vCPUs go no further, and nobody waits any more. Idempotent. */
  abandon(): void
  close(): void
}
