import type { Chardev } from '../backends/chardev.ts'
import { Layout } from '../util/bytes.ts'
import { commonFeatures, type DeviceEvents, readOnlySpans, type VirtioDevice } from './device.ts'
import type { MailboxBackend, MailboxHandlers } from './queue-backend.ts'

/** virtio 1.2 §5.3.3. */
const featureSize = 1n << 0n
/** struct virtio_console_config (§5.3.4). */
const consoleConfig = new Layout(12, { columns: { offset: 0, width: 2 }, rows: { offset: 2, width: 2 } })
const queueSize = 256
const receiveQueue = 0
/** Input beyond this waits on the host. */
const waitingInputBytes = 4096

export interface ConsoleOptions {
  readonly name: string
  readonly chardev: Chardev
  /** The terminal's size, where it has one. */
  readonly size: { readonly columns: number; readonly rows: number } | undefined
  createBackend(handlers: MailboxHandlers): MailboxBackend
}

/** A console (virtio 1.2 §5.3) with one port. */
export class VirtioConsole implements VirtioDevice {
  readonly type = 3
  readonly name: string
  readonly queueSizes = [queueSize, queueSize]
  readonly features: bigint
  readonly config = consoleConfig.encode({})
  readonly configSpans = readOnlySpans(this.config)
  readonly backend: MailboxBackend
  readonly #chardev: Chardev
  #events: DeviceEvents | undefined
  #waiting: number[] = []
  /** Buffers that the driver has given for input. */
  #buffers: { readonly head: number; readonly writableBytes: number }[] = []

  constructor(options: ConsoleOptions) {
    this.name = options.name
    this.#chardev = options.chardev
    const common = commonFeatures.version1 | commonFeatures.eventIndex | commonFeatures.indirectDescriptors
    this.features = options.size === undefined ? common : common | featureSize
    if (options.size !== undefined) consoleConfig.write(this.config, { ...options.size })
    this.backend = options.createBackend({
      onChain: (queue, head, readable, writableBytes) => {
        if (queue === receiveQueue) this.#offer(head, writableBytes)
        else this.#transmit(queue, head, readable)
      },
      onFailure: (queue, reason) => this.#events?.needsReset(`queue ${queue}: ${reason}`),
    })
    options.chardev.onInput(input => {
      this.#waiting.push(...input)
      this.#deliver()
    })
  }

  bind(events: DeviceEvents): void {
    this.#events = events
  }

  /** The terminal has changed its size. */
  resize(size: { readonly columns: number; readonly rows: number }): void {
    if ((this.features & featureSize) === 0n) return
    consoleConfig.write(this.config, size)
    this.#events?.configChanged()
  }

  /** The back end is about to start: it offers every buffer anew that was not used. */
  negotiated(): void {
    this.#buffers = []
  }

  writeConfig(): void {}

  reset(): void {
    this.#buffers = []
  }

  close(): Promise<void> {
    return this.#chardev.close()
  }

  #transmit(queue: number, head: number, readable: Uint8Array): void {
    this.#chardev.write(readable)
    this.backend.complete(queue, head, new Uint8Array(0))
  }

  #offer(head: number, writableBytes: number): void {
    this.#buffers.push({ head, writableBytes })
    this.#deliver()
  }

  #deliver(): void {
    while (this.#waiting.length > 0) {
      const buffer = this.#buffers.shift()
      if (buffer === undefined) break
      const bytes = Uint8Array.from(this.#waiting.splice(0, buffer.writableBytes))
      this.backend.complete(receiveQueue, buffer.head, bytes)
    }
    this.#chardev.setInputWanted(this.#waiting.length < waitingInputBytes)
  }
}
