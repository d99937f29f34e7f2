import type { Socket } from 'node:net'
import { decodeMessage, type MessageType } from '../protocol.ts'
import { Relay, type RelayedPair } from './relay.ts'

/**
 * What becomes of a message of the control connection: `cut` ends all connections instead of it, `pass-and-cut` behind it; behind
 * `pass-and-garble` comes what is no message.
 */
export type Fate = 'pass' | 'cut' | 'pass-and-cut' | 'pass-and-garble' | 'drop'

const headerBytes = 20

/** Between both sides of a migration, at Unix sockets: sees what they say, and can break everything. */
export class MigrationProxy implements AsyncDisposable {
  #between: Relay | undefined
  /** All connections are about to be cut: nothing passes any more. */
  #isEnding = false
  /** Asked for each message; the machine's memory is passed on unseen. */
  judge: (type: MessageType, from: 'source' | 'destination') => Fate = () => 'pass'

  private constructor() {}

  static async open(path: string, target: string): Promise<MigrationProxy> {
    const proxy = new MigrationProxy()
    proxy.#between = await Relay.open({ path }, { path: target }, pair => proxy.#join(pair))
    return proxy
  }

  /** Nobody can connect any more. */
  shut(): void {
    if (this.#between !== undefined) this.#between.isOpen = false
  }

  /** Whether neither side has a connection any more. */
  get isQuiet(): boolean {
    return this.#between?.sockets.size === 0
  }

  /** Ends all connections. */
  cut(): void {
    this.#between?.cut()
  }

  #join({ source, destination }: RelayedPair): void {
    source.once('data', preamble => {
      destination.write(preamble.subarray(0, 32))
      const isControl = preamble.readUInt32LE(8) === 0
      if (!isControl) {
        destination.write(preamble.subarray(32))
        source.pipe(destination)
        destination.pipe(source)
        return
      }
      this.#relay(source, destination, 'source', preamble.subarray(32))
      this.#relay(destination, source, 'destination', Buffer.alloc(0))
    })
  }

  #relay(from: Socket, to: Socket, side: 'source' | 'destination', first: Buffer): void {
    let waiting = Buffer.alloc(0)
    const take = (chunk: Buffer) => {
      waiting = Buffer.concat([waiting, chunk])
      while (waiting.length >= headerBytes) {
        const end = headerBytes + waiting.readUInt32LE(4)
        if (waiting.length < end) return
        const message = waiting.subarray(0, end)
        waiting = waiting.subarray(end)
        if (this.#pass(message, to, side) === 'cut') return
      }
    }
    from.on('data', take)
    take(first)
  }

  #pass(message: Buffer, to: Socket, side: 'source' | 'destination'): Fate {
    if (this.#isEnding) return 'drop'
    const { type } = decodeMessage(message.subarray(headerBytes))
    const fate = type === 'beat' ? 'pass' : this.judge(type, side)
    if (fate === 'pass' || fate === 'pass-and-cut') to.write(message)
    if (fate === 'pass-and-garble') to.write(Buffer.concat([message, Buffer.alloc(headerBytes)]))
    if (fate === 'pass-and-cut') this.#end()
    if (fate === 'cut') this.cut()
    return fate
  }

  /** What was written is to arrive before. */
  #end(): void {
    this.#isEnding = true
    setTimeout(() => {
      this.#isEnding = false
      this.cut()
    }, 50)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#between?.[Symbol.asyncDispose]()
  }
}
