import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { decodeMessage, type MessageType } from '../protocol.ts'

/** What becomes of a message of the control connection: `cut` ends all connections instead of it, `pass-and-cut` behind it. */
export type Fate = 'pass' | 'cut' | 'pass-and-cut' | 'drop'

const headerBytes = 16

/** Between both sides of a migration, at Unix sockets: sees what they say, and can break everything. */
export class MigrationProxy implements AsyncDisposable {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  /** Asked for each message; the machine's memory is passed on unseen. */
  judge: (type: MessageType, from: 'source' | 'destination') => Fate = () => 'pass'
  /** Whether somebody can connect. */
  isOpen = true

  private constructor(server: Server) {
    this.#server = server
  }

  static async open(path: string, target: string): Promise<MigrationProxy> {
    const server = createServer()
    const proxy = new MigrationProxy(server)
    server.on('connection', socket => proxy.#join(socket, target))
    server.listen(path)
    await once(server, 'listening')
    return proxy
  }

  /** Ends all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #join(source: Socket, target: string): void {
    if (!this.isOpen) return void source.destroy()
    const destination = connect(target)
    for (const [one, other] of [
      [source, destination],
      [destination, source],
    ] as const) {
      this.#sockets.add(one)
      one.on('error', () => {})
      one.on('close', () => {
        this.#sockets.delete(one)
        other.destroySoon()
      })
    }
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
    const { type } = decodeMessage(message.subarray(headerBytes))
    const fate = type === 'beat' ? 'pass' : this.judge(type, side)
    if (fate === 'pass' || fate === 'pass-and-cut') to.write(message)
    // What was written is to arrive.
    if (fate === 'pass-and-cut') setTimeout(() => this.cut(), 50)
    if (fate === 'cut') this.cut()
    return fate
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    await new Promise(resolve => this.#server.close(resolve))
  }
}
