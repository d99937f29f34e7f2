import { Duplex } from 'node:stream'
import { addon } from '../native/addon.ts'
import type { NativeDescriptorSocket } from '../native/descriptor-sockets.ts'

/** More than any request has use for: as many as there can be queue pairs, and then some. */
const mostDescriptors = 1024
/** How long a peer may take to hear the end of what was said to it. */
const lingerMs = 1_000

export function closeDescriptor(fd: number): void {
  addon().closeDescriptor(fd)
}

/** A connection of a Unix socket that descriptors come and go over, as a stream for Node's HTTP. */
export class DescriptorSocket extends Duplex {
  readonly #native: NativeDescriptorSocket
  #received: number[] = []
  #isShort = false
  #toSend: readonly number[] = []
  #onWritten: ((error?: Error | null) => void) | undefined
  /** Nothing that comes is of interest any more. */
  #isLeaving = false

  /** `fd` is taken over. */
  constructor(fd: number, threadName: string) {
    super()
    this.#native = new (addon().DescriptorSocket)({
      ...{ fd, threadName },
      onChunk: (bytes, descriptors, isShort) => this.#onChunk(bytes, descriptors, isShort),
      onWritten: () => this.#written(),
      onFailure: error => this.destroy(error),
    })
  }

  /** Throws what the system says. */
  static connect(path: string, threadName: string): DescriptorSocket {
    return new DescriptorSocket(addon().connectSocket(path), threadName)
  }

  /** These go with the next bytes that are written, and are the caller's to close when those are. */
  sendWithNext(fds: readonly number[]): void {
    this.#toSend = fds
  }

  /** What has come since the last call, in that order and the caller's to close; whether more came than there is room for. */
  takeDescriptors(): { readonly fds: readonly number[]; readonly isShort: boolean } {
    const taken = { fds: this.#received, isShort: this.#isShort }
    this.#received = []
    this.#isShort = false
    return taken
  }

  /**
   * Ends when everything is written and the peer has ended, too, or had time to: one that finds nobody to write the rest of its
   * request to would not look for an answer.
   */
  destroySoon(): void {
    if (this.#isLeaving) return
    this.#isLeaving = true
    const deadline = setTimeout(() => this.destroy(), lingerMs)
    this.once('close', () => clearTimeout(deadline))
    this.end()
    if (!this.destroyed) this.#native.read()
  }

  override _read(): void {
    this.#native.read()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    const descriptors = this.#toSend
    this.#toSend = []
    if (this.#native.write(chunk, descriptors)) callback()
    else this.#onWritten = callback
  }

  /** In one piece: some clients take what comes first for the whole answer. */
  override _writev(chunks: readonly { chunk: Buffer }[], callback: (error?: Error | null) => void): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'binary', callback)
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#native.end()
    callback()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#native.close()
    this.takeDescriptors().fds.forEach(closeDescriptor)
    callback(error)
  }

  #onChunk(bytes: Uint8Array<ArrayBuffer>, descriptors: readonly number[], isShort: boolean): void {
    if (this.#isLeaving) {
      descriptors.forEach(closeDescriptor)
      if (bytes.length > 0) this.#native.read()
      else if (this.writableFinished) this.destroy()
      else this.once('finish', () => this.destroy())
      return
    }
    this.#received.push(...descriptors)
    this.#isShort ||= isShort
    if (this.#received.length > mostDescriptors) this.destroy(new Error(`more than ${mostDescriptors} descriptors`))
    else this.push(bytes.length === 0 ? null : Buffer.from(bytes.buffer))
  }

  #written(): void {
    const callback = this.#onWritten
    this.#onWritten = undefined
    callback?.()
  }
}
