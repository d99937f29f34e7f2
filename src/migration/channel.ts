import type { Socket } from 'node:net'
import { crc32 } from 'node:zlib'
import { ByteQueue } from '../util/byte-queue.ts'
import { concatenate, Layout } from '../util/bytes.ts'
import { reasonOf } from '../util/errors.ts'
import { migrationError } from './error.ts'
import { decodeMessage, encodeMessage, type Message, type MessageOf, type MessageType } from './protocol.ts'

/**
 * What goes before each message. `checksum`: CRC-32 of the message (RFC 1952); `headerChecksum`: of what stands before it, as a
 * length that is wrong would be waited for.
 */
const header = new Layout(20, {
  magic: { offset: 0, width: 4 },
  lengthBytes: { offset: 4, width: 4 },
  checksum: { offset: 8, width: 4 },
  sequence: { offset: 12, width: 4 },
  headerChecksum: { offset: 16, width: 4 },
})
const headerChecksumOffset = 16
/** "TVMC". */
const magic = 0x434d_5654
/** The state of a machine of a thousand devices and vCPUs, compressed. */
const largestMessageBytes = 256 * 1024 * 1024
/** Of a peer that has not said yet which machine it has. */
const largestFirstBytes = 16 * 1024 * 1024
/** What a peer hears at the least; one with less patience hears more. */
const longestBeatMs = 1000
const beatsInPatience = 5
/** How long a peer may take to hear what was said last. */
const lingerMs = 1000
/** More than these say nothing that somebody waits for. */
const mostWaiting = 256

export interface ChannelOptions {
  /** A peer from which nothing came for so long is gone. */
  readonly peerTimeoutMs: number
}

/** Why a connection ended. */
export class ConnectionLost extends Error {
  constructor(reason: string, options?: ErrorOptions) {
    super(reason, options)
    this.name = 'ConnectionLost'
  }
}

/** The control connection: messages in their order, each whole, until the connection is lost. */
export class Channel implements Disposable {
  readonly #socket: Socket
  readonly #options: ChannelOptions
  readonly #received = new ByteQueue()
  readonly #messages: Message[] = []
  readonly #lost = Promise.withResolvers<ConnectionLost>()
  readonly #beatMs: number
  readonly #beats: NodeJS.Timeout
  #loss: ConnectionLost | undefined
  #wake: (() => void) | undefined
  #limitBytes = largestFirstBytes
  #sent = 0
  #got = 0
  /** Beats since the peer was heard. */
  #silentBeats = 0

  /** The socket is the channel's from now on. */
  constructor(socket: Socket, options: ChannelOptions) {
    this.#socket = socket
    this.#options = options
    socket.setNoDelay(true)
    socket.on('data', chunk => this.#take(chunk))
    socket.on('error', error => this.#lose(reasonOf(error), error))
    socket.on('close', () => this.#lose('the connection was ended'))
    this.#beatMs = Math.min(longestBeatMs, options.peerTimeoutMs / beatsInPatience)
    this.#beats = setInterval(() => this.#beat(), this.#beatMs)
    this.#beats.unref()
  }

  /** Resolves with the reason when the connection has gone; messages that came before can still be received. */
  get lost(): Promise<ConnectionLost> {
    return this.#lost.promise
  }

  get isLost(): boolean {
    return this.#loss !== undefined
  }

  /** From now on the peer is known: its messages may be as large as the state of a machine. */
  trust(): void {
    this.#limitBytes = largestMessageBytes
  }

  /** Whether it arrives is another matter. */
  send(message: Message): void {
    if (this.#loss !== undefined) return
    const content = encodeMessage(message)
    const checksum = crc32(content)
    const head = header.encode({ magic, lengthBytes: content.length, checksum, sequence: this.#sent++ })
    header.write(head, { headerChecksum: checksumOfHeader(head) })
    this.#socket.cork()
    this.#socket.write(head)
    this.#socket.write(content)
    this.#socket.uncork()
  }

  /** The next message. Rejects with ConnectionLost where none will come. */
  async receive(): Promise<Message> {
    for (;;) {
      const message = this.#messages.shift()
      if (message !== undefined) return message
      if (this.#loss !== undefined) throw this.#loss
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }

  /**
   * The next message, which is to be of this type: what else comes is the end of the connection. Throws ERR_MIGRATION with the
   * reason of a peer that gives up instead.
   */
  async expect<Type extends MessageType>(type: Type): Promise<MessageOf<Type>> {
    const message = await this.receive()
    if (isOf(message, type)) return message
    if (message.type === 'failed') throw migrationError(`the destination refuses: ${message.reason}`)
    if (message.type === 'abort') throw migrationError(`the source gives up: ${message.reason}`)
    this.#lose(`it says ${message.type} where ${type} was to come`)
    throw this.#loss ?? new ConnectionLost('')
  }

  /** Ends the connection once what was sent has been heard, or could have been. Idempotent. */
  close(): void {
    clearInterval(this.#beats)
    if (this.#loss === undefined) this.#endInPeace()
    this.#lose('the connection was closed')
  }

  /** A peer that finds nobody to say the rest to would not listen to what was said last. */
  #endInPeace(): void {
    const deadline = setTimeout(() => this.#socket.destroy(), lingerMs)
    this.#socket.once('close', () => clearTimeout(deadline))
    this.#socket.end()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** Beats are counted, not time: what came while this program itself stood still is read only after the beat that is late. */
  #beat(): void {
    this.send({ type: 'beat' })
    this.#silentBeats += 1
    const silentMs = this.#silentBeats * this.#beatMs
    if (silentMs > this.#options.peerTimeoutMs) this.#lose(`nothing was heard for ${Math.round(silentMs)} ms`)
  }

  #take(chunk: Uint8Array): void {
    if (this.#loss !== undefined) return
    this.#silentBeats = 0
    this.#received.push(chunk)
    try {
      for (let message = this.#next(); message !== undefined; message = this.#next()) {
        if (message.type === 'beat') continue
        if (this.#messages.length === mostWaiting) throw new TypeError('it says more than anybody asked for')
        this.#messages.push(message)
      }
    } catch (cause) {
      this.#lose(reasonOf(cause), cause)
    }
    this.#wake?.()
  }

  /** Throws TypeError for what no peer writes. */
  #next(): Message | undefined {
    if (this.#loss !== undefined || this.#received.lengthBytes < header.sizeBytes) return undefined
    const head = this.#takeBytes(header.sizeBytes)
    const lengthBytes = header.readNumber(head, 'lengthBytes')
    if (header.readNumber(head, 'magic') !== magic) throw new TypeError('a message begins with something else')
    if (checksumOfHeader(head) !== header.readNumber(head, 'headerChecksum')) {
      throw new TypeError('the checksum of a header differs')
    }
    if (lengthBytes > this.#limitBytes) throw new TypeError(`a message of ${lengthBytes} bytes is too long`)
    if (this.#received.lengthBytes < lengthBytes) {
      this.#received.unshift(head)
      return undefined
    }
    const content = this.#takeBytes(lengthBytes)
    if (crc32(content) !== header.readNumber(head, 'checksum')) throw new TypeError('the checksum of a message differs')
    if (header.readNumber(head, 'sequence') !== this.#got++) throw new TypeError('a message is missing or doubled')
    return decodeMessage(content)
  }

  #takeBytes(lengthBytes: number): Uint8Array {
    const parts: Uint8Array[] = []
    for (let left = lengthBytes; left > 0; ) {
      const part = this.#received.take(left)
      if (part === undefined) break
      parts.push(part)
      left -= part.length
    }
    const [first] = parts
    return parts.length === 1 && first !== undefined ? first : concatenate(parts)
  }

  #lose(reason: string, cause?: unknown): void {
    if (this.#loss !== undefined) return
    clearInterval(this.#beats)
    this.#loss = new ConnectionLost(reason, cause === undefined ? {} : { cause })
    this.#lost.resolve(this.#loss)
    this.#wake?.()
    if (!this.#socket.writableEnded) this.#socket.destroy()
  }
}

function checksumOfHeader(head: Uint8Array): number {
  return crc32(head.subarray(0, headerChecksumOffset))
}

function isOf<Type extends MessageType>(message: Message, type: Type): message is MessageOf<Type> {
  return message.type === type
}
