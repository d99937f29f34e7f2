import { closeSync, constants, fstatSync, openSync, statSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { hasCode, reasonOf, TsvmmError } from '../util/errors.ts'

export type EventTarget = { readonly path: string } | { readonly fd: number }

/** What a reader that has stopped reading may make us keep; later events are dropped. */
const maximumWaitingBytes = 1024 * 1024
const retryMs = 20

/** Takes as much as goes without waiting; how much that was. */
interface Sink {
  write(bytes: Uint8Array): number
  close(): void
}

/**
 * Tells a file, FIFO or socket what happens: a JSON object an event, an empty line after each, as Cloud Hypervisor does.
 * Nothing here waits for the reader, and one that has not come yet, or has gone, is no error.
 */
export class EventMonitor implements Disposable {
  readonly #sink: Sink
  readonly #now: () => number
  readonly #waiting: Uint8Array[] = []
  #waitingBytes = 0
  #retry: NodeJS.Timeout | undefined
  #isClosed = false

  /** `now` counts milliseconds since the start of the program. Throws ERR_EVENT_MONITOR. */
  static open(target: EventTarget, now: () => number): EventMonitor {
    try {
      return new EventMonitor(openSink(target), now)
    } catch (cause) {
      const path = 'path' in target ? target.path : `fd=${target.fd}`
      throw new TsvmmError('ERR_EVENT_MONITOR', { path, reason: reasonOf(cause) }, { cause })
    }
  }

  private constructor(sink: Sink, now: () => number) {
    this.#sink = sink
    this.#now = now
  }

  tell(source: string, event: string, properties: Readonly<Record<string, string>> | null = null): void {
    if (this.#isClosed) return
    const bytes = Buffer.from(
      `${JSON.stringify({ timestamp: this.#timestamp(), source, event, properties }, null, 2)}\n\n`,
    )
    // Whole events or nothing: readers match braces.
    if (this.#waitingBytes + bytes.length > maximumWaitingBytes) return
    this.#waiting.push(bytes)
    this.#waitingBytes += bytes.length
    if (this.#retry === undefined) this.#flush()
  }

  /** Tries once more to hand on what waits. Idempotent. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#retry)
    this.#flush()
    clearTimeout(this.#retry)
    this.#sink.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #timestamp(): { secs: number; nanos: number } {
    const milliseconds = this.#now()
    const secs = Math.floor(milliseconds / 1000)
    return { secs, nanos: Math.floor((milliseconds - secs * 1000) * 1e6) }
  }

  #flush(): void {
    this.#retry = undefined
    for (let bytes = this.#waiting.shift(); bytes !== undefined; bytes = this.#waiting.shift()) {
      const written = this.#sink.write(bytes)
      this.#waitingBytes -= written
      if (written === bytes.length) continue
      this.#waiting.unshift(bytes.subarray(written))
      this.#retry = setTimeout(() => this.#flush(), retryMs)
      this.#retry.unref()
      return
    }
  }
}

function openSink(target: EventTarget): Sink {
  if ('path' in target) return new DescriptorSink(openFile(target.path))
  if (fstatSync(target.fd).isSocket()) return new SocketSink(target.fd)
  // A description of our own, so that not blocking is not forced on whoever has given us the descriptor.
  return new DescriptorSink(openFile(`/proc/self/fd/${target.fd}`))
}

function openFile(path: string): number {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat?.isSocket() === true) throw new Error('is a socket: connect it and give its descriptor')
  // Opened for reading, too, a FIFO needs no reader yet: clients open their end after they have started us (fifo(7)).
  const access =
    stat?.isFIFO() === true ? constants.O_RDWR : constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND
  return openSync(path, access | constants.O_NONBLOCK | constants.O_NOCTTY, 0o600)
}

class DescriptorSink implements Sink {
  readonly #fd: number

  constructor(fd: number) {
    this.#fd = fd
  }

  write(bytes: Uint8Array): number {
    try {
      return writeSync(this.#fd, bytes)
    } catch (error) {
      const isFull = hasCode(error, 'EAGAIN')
      // What can never be written, to a full disk for instance, is dropped: the machine matters more.
      return isFull ? 0 : bytes.length
    }
  }

  close(): void {
    closeSync(this.#fd)
  }
}

class SocketSink implements Sink {
  readonly #socket: Socket

  constructor(fd: number) {
    this.#socket = new Socket({ fd, readable: false, writable: true })
    this.#socket.on('error', () => {})
    this.#socket.unref()
  }

  write(bytes: Uint8Array): number {
    if (this.#socket.writable && this.#socket.writableLength > 0) return 0
    if (this.#socket.writable) this.#socket.write(bytes)
    return bytes.length
  }

  close(): void {
    this.#socket.destroySoon()
  }
}
