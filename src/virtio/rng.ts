import { stateless } from '../state/carried.ts'
import { commonFeatures, type DeviceEvents, readOnlySpans, type VirtioDevice } from './device.ts'
import type { MailboxBackend, MailboxHandlers } from './queue-backend.ts'

const queueSize = 256
/** A driver asks for 64 bytes or so; one that asks for more gets part of it, as §5.4.6.1 allows. */
const maximumBytes = 64 * 1024

export interface RngOptions {
  readonly name: string
  /** Random bytes of the host, at most so many and at least one. */
  readRandom(lengthBytes: number): Promise<Uint8Array>
  createBackend(handlers: MailboxHandlers): MailboxBackend
  closeSource(): Promise<void>
}

/** Entropy (virtio 1.2 §5.4). */
export class VirtioRng implements VirtioDevice {
  readonly type = 4
  readonly name: string
  /** What it has not answered it is asked again. */
  readonly state = stateless
  readonly queueSizes = [queueSize]
  readonly features = commonFeatures.version1 | commonFeatures.eventIndex | commonFeatures.indirectDescriptors
  readonly config = new Uint8Array(0)
  readonly configSpans = readOnlySpans(this.config)
  readonly backend: MailboxBackend
  readonly #options: RngOptions
  #events: DeviceEvents | undefined
  /** Counts resets: what the host says to a request of before is nobody's. */
  #run = 0

  constructor(options: RngOptions) {
    this.#options = options
    this.name = options.name
    this.backend = options.createBackend({
      onChain: (queue, head, _readable, writableBytes) => this.#answer(queue, head, writableBytes),
      onFailure: (queue, reason) => this.#events?.needsReset(`queue ${queue}: ${reason}`),
    })
  }

  bind(events: DeviceEvents): void {
    this.#events = events
  }

  negotiated(): void {}
  writeConfig(): void {}
  async pause(): Promise<void> {}
  resume(): void {}

  reset(): void {
    this.#run += 1
  }

  close(): Promise<void> {
    this.#run += 1
    return this.#options.closeSource()
  }

  #answer(queue: number, head: number, writableBytes: number): void {
    if (writableBytes === 0) {
      this.backend.complete(queue, head, new Uint8Array(0))
      return
    }
    const run = this.#run
    this.#options.readRandom(Math.min(writableBytes, maximumBytes)).then(
      bytes => this.backend.complete(queue, head, bytes),
      () => {
        if (run === this.#run) this.#events?.needsReset('the host has no random bytes')
      },
    )
  }
}
