import type { Chardev, TerminalSize } from '../backends/chardev.ts'
import { saved } from '../state/carried.ts'
import { ByteQueue } from '../util/byte-queue.ts'
import { concatenate, Layout } from '../util/bytes.ts'
import { consoleState, type SavedConsole } from './console-state.ts'
import { commonFeatures, type DeviceEvents, readOnlySpans, type VirtioDevice } from './device.ts'
import type { MailboxBackend, MailboxHandlers, QueueBackend } from './queue-backend.ts'

/** virtio 1.2 §5.3.3. */
export const consoleFeatures = { size: 1n << 0n } as const
/** struct virtio_console_config (§5.3.4). */
const consoleConfig = new Layout(12, { columns: { offset: 0, width: 2 }, rows: { offset: 2, width: 2 } })
const queueSize = 256
const receiveQueue = 0
/** Input beyond this waits on the host. */
const waitingInputBytes = 4096

export interface ConsoleOptions {
  readonly name: string
  /** Where it has a size, the guest is told of it and of its changes. */
  readonly chardev: Chardev
  createBackend(handlers: MailboxHandlers): MailboxBackend
}

interface InputBuffer {
  readonly head: number
  readonly writableBytes: number
}

/** A console (virtio 1.2 §5.3) with one port. */
export class VirtioConsole implements VirtioDevice {
  readonly type = 3
  readonly name: string
  readonly state = saved({
    schema: consoleState,
    save: () => this.#known ?? this.#size(),
    load: state => {
      this.#known = state
    },
  })
  readonly queueSizes = [queueSize, queueSize]
  readonly features: bigint
  readonly config = consoleConfig.encode({})
  readonly configSpans = readOnlySpans(this.config)
  readonly backend: QueueBackend
  readonly #chardev: Chardev
  readonly #mailbox: MailboxBackend
  #events: DeviceEvents | undefined
  /** Not the guest's yet: it stays over a reset and while nothing takes it. */
  readonly #waiting = new ByteQueue()
  /** The size that the guest of a loaded state knows, until it is resumed. */
  #known: SavedConsole | undefined
  /** What the driver has given for input, while the back end runs. */
  #buffers: InputBuffer[] = []

  constructor({ name, chardev, createBackend }: ConsoleOptions) {
    this.name = name
    this.#chardev = chardev
    const common = commonFeatures.version1 | commonFeatures.eventIndex | commonFeatures.indirectDescriptors
    this.features = chardev.size === undefined ? common : common | consoleFeatures.size
    if (chardev.size !== undefined) this.#showSize(chardev.size)
    this.#mailbox = createBackend({
      onChain: (queue, head, readable, writableBytes) => {
        if (queue === receiveQueue) this.#offer({ head, writableBytes })
        else this.#transmit(queue, head, readable)
      },
      onFailure: (queue, reason) => this.#fail(queue, reason),
    })
    this.backend = this.#forgettingBuffers(this.#mailbox)
    chardev.onInput(input => {
      this.#waiting.push(input)
      this.#deliver()
    })
    chardev.onResize?.(size => this.#resize(size))
  }

  bind(events: DeviceEvents): void {
    this.#events = events
  }

  negotiated(): void {}
  writeConfig(): void {}
  async pause(): Promise<void> {}

  /** The terminal of a machine that was saved may be another by now. */
  resume(): void {
    const { columns, rows } = this.#size()
    const isNews = this.#known !== undefined && (this.#known.columns !== columns || this.#known.rows !== rows)
    this.#known = undefined
    if (isNews) this.#events?.configChanged()
  }

  reset(): void {}

  close(): Promise<void> {
    return this.#chardev.close()
  }

  /** A back end that stops offers every buffer anew when it starts; what it were answered until then would be lost. */
  #forgettingBuffers(mailbox: MailboxBackend): QueueBackend {
    return {
      start: (vrings, features) => mailbox.start(vrings, features),
      stop: () => {
        this.#buffers = []
        return mailbox.stop()
      },
      counters: () => mailbox.counters(),
      close: () => {
        this.#buffers = []
        mailbox.close()
      },
    }
  }

  #fail(queue: number, reason: string): void {
    // Nor does a queue that is broken take answers.
    if (queue === receiveQueue) this.#buffers = []
    this.#events?.needsReset(`queue ${queue}: ${reason}`)
  }

  #resize(size: TerminalSize): void {
    if ((this.features & consoleFeatures.size) === 0n) return
    const { columns, rows } = this.#size()
    if (columns === size.columns && rows === size.rows) return
    this.#showSize(size)
    this.#events?.configChanged()
  }

  #size(): SavedConsole {
    return {
      columns: consoleConfig.readNumber(this.config, 'columns'),
      rows: consoleConfig.readNumber(this.config, 'rows'),
    }
  }

  #showSize({ columns, rows }: TerminalSize): void {
    consoleConfig.write(this.config, { columns, rows })
  }

  #transmit(queue: number, head: number, readable: Uint8Array): void {
    this.#chardev.write(readable)
    this.#mailbox.complete(queue, head, new Uint8Array(0))
  }

  #offer(buffer: InputBuffer): void {
    this.#buffers.push(buffer)
    this.#deliver()
  }

  #deliver(): void {
    while (this.#waiting.lengthBytes > 0) {
      const buffer = this.#buffers.shift()
      if (buffer === undefined) break
      this.#mailbox.complete(receiveQueue, buffer.head, this.#take(buffer.writableBytes))
    }
    this.#chardev.setInputWanted(this.#waiting.lengthBytes < waitingInputBytes)
  }

  #take(maximum: number): Uint8Array {
    const parts: Uint8Array[] = []
    let left = maximum
    for (let part = this.#waiting.take(left); part !== undefined; part = this.#waiting.take(left)) {
      parts.push(part)
      left -= part.length
    }
    return concatenate(parts)
  }
}
