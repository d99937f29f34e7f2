import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** Passes connections on to another place, and can end them all: whoever wants to connects again. */
export class TcpRelay implements AsyncDisposable {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly port: number

  private constructor(server: Server) {
    this.#server = server
    const bound = server.address()
    if (bound === null || typeof bound === 'string') throw new Error('not a TCP server')
    this.port = bound.port
  }

  static async listen(address: string, target: { readonly host: string; readonly port: number }): Promise<TcpRelay> {
    const server = createServer()
    server.listen(0, address)
    await once(server, 'listening')
    const relay = new TcpRelay(server)
    server.on('connection', socket => relay.#join(socket, connect(target)))
    return relay
  }

  /** How many connections there are. */
  get connections(): number {
    return this.#sockets.size / 2
  }

  /** Ends all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #join(near: Socket, far: Socket): void {
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(one)
      one.on('error', () => {})
      one.on('close', () => {
        this.#sockets.delete(one)
        other.destroySoon()
      })
      one.pipe(other)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    await new Promise(resolve => this.#server.close(resolve))
  }
}
