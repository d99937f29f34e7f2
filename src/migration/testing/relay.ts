import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** Both ends of a connection that is relayed: towards the source of a migration, and towards its destination. */
export interface RelayedPair {
  readonly source: Socket
  readonly destination: Socket
}

/** Where somebody listens; any port where it is 0. */
export type Place = { readonly path: string } | { readonly host: string; readonly port: number }

/** Stands between both sides of a migration; `join` moves what comes from one end to the other. */
export class Relay implements AsyncDisposable {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  /** Whether somebody can connect. */
  isOpen = true

  private constructor(server: Server) {
    this.#server = server
  }

  static async open(at: Place, target: Place, join: (pair: RelayedPair) => void): Promise<Relay> {
    const server = createServer()
    const relay = new Relay(server)
    server.on('connection', source => {
      if (!relay.isOpen) return void source.destroy()
      const pair = { source, destination: connect(target) }
      relay.#watch(pair.source, pair.destination)
      relay.#watch(pair.destination, pair.source)
      join(pair)
    })
    server.listen(at)
    await once(server, 'listening')
    return relay
  }

  /** Of one that has such a thing. */
  get port(): number {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new RangeError('it is at a Unix socket')
    return address.port
  }

  /** The ends of all connections that there are. */
  get sockets(): ReadonlySet<Socket> {
    return this.#sockets
  }

  /** Ends all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #watch(one: Socket, other: Socket): void {
    this.#sockets.add(one)
    one.on('error', () => {})
    one.on('close', () => {
      this.#sockets.delete(one)
      other.destroySoon()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    await new Promise(resolve => this.#server.close(resolve))
  }
}
