import type { MachineRam } from '../machine/build.ts'
import { noPages } from '../memory/page-bitmap.ts'
import { imagePagesOf } from '../memory/ram-image.ts'
import type { LateRam, RamReceiver } from '../memory/ram-transfer.ts'
import type { Channel } from './channel.ts'
import { closeSocket } from './connections.native.ts'
import { decodePages, encodePages } from './missing-pages.ts'
import { closeSockets, type Reception, unlessLost } from './reception.ts'

export interface LateArrivalOptions {
  readonly ram: Pick<MachineRam, 'ranges' | 'createLate'>
  /** As `state` has it. */
  readonly missing: Uint8Array
  /** What has received the memory so far, and goes on with the rest. */
  readonly receiver: RamReceiver
  /** The connection over which the source is asked. */
  readonly faults: number
  /** From which nothing comes for so long is gone. */
  readonly peerTimeoutMs: number
  /** Connections for memory have failed: the source is to come back. */
  onBroken(): void
  onComplete(): void
}

/** The rest of the memory of a machine that goes on here before it is there. */
export class LateArrival {
  readonly #options: LateArrivalOptions
  readonly #late: LateRam
  #receiver: RamReceiver
  #isComplete = false

  /** The machine stands still. Throws ERR_MEMORY, and TypeError for what is no such set of pages. */
  constructor(options: LateArrivalOptions) {
    const { ram, missing, receiver, faults, peerTimeoutMs, onComplete } = options
    this.#options = options
    this.#receiver = receiver
    try {
      this.#late = ram.createLate({
        ...{ missing: decodePages(missing, imagePagesOf(ram.ranges)), receiver },
        onComplete: () => {
          this.#isComplete = true
          this.close()
          onComplete()
        },
        onFailure: () => this.#options.onBroken(),
      })
    } catch (error) {
      closeSocket(faults)
      throw error
    }
    try {
      this.#late.askAt(faults, peerTimeoutMs)
    } catch (error) {
      this.#late.close()
      throw error
    }
  }

  get isComplete(): boolean {
    return this.#isComplete
  }

  /** The source has come back and makes new connections. Throws ConnectionLost where it goes again. */
  async resume(channel: Channel, reception: Reception, connections: number): Promise<void> {
    this.#receiver.close()
    const { peerTimeoutMs } = this.#options
    const sockets = reception.sockets(connections, true)
    channel.send({ type: 'missing', pages: encodePages(this.#late.missing()) })
    const come = await unlessLost(sockets, channel)
    // The last pages may have come over the old connection.
    if (this.#isComplete) return closeSockets(come)
    this.#receiver = this.#late.createReceiver({
      ...{ sockets: come.memory, stallMs: 0 },
      onPass: () => {},
      onFailure: () => channel.close(),
    })
    if (come.faults !== undefined) this.#late.askAt(come.faults, peerTimeoutMs)
  }

  /** The machine is given up. Idempotent. */
  abandon(): void {
    if (!this.#isComplete) this.#late.abandon()
    this.close()
  }

  close(): void {
    this.#receiver.close()
    this.#late.close()
  }
}

/** Throws ERR_MEMORY where memory cannot come later: better now than when the machine stands still. */
export function tryLate(ram: MachineRam): void {
  const missing = noPages(imagePagesOf(ram.ranges))
  ram.createLate({ missing, onComplete: () => {}, onFailure: () => {} }).close()
}
