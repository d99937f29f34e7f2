import type { MigrationAddress } from './addresses.ts'
import { Channel } from './channel.ts'
import { closeSocket, type Listener, type ListenOptions, listen, socketOf } from './connections.native.ts'
import type { ConnectionRole, Preamble } from './preamble.ts'

export interface ReceptionOptions extends Omit<ListenOptions, 'onConnection'> {
  readonly peerTimeoutMs: number
  /** Told of every control connection: of somebody new while nobody is here, of the same migration later on. */
  onControl(channel: Channel, id: string): void
}

/** Connections for the memory of a machine: their descriptors. */
export interface MemorySockets {
  readonly memory: number[]
  readonly faults: number | undefined
}

/** They are closed where the control connection is lost before they have come, and ConnectionLost is thrown. */
export async function unlessLost(sockets: Promise<MemorySockets>, channel: Channel): Promise<MemorySockets> {
  const come = await Promise.race([sockets, channel.lost])
  if (!(come instanceof Error)) return come
  void sockets.then(closeSockets)
  throw come
}

export function closeSockets({ memory, faults }: MemorySockets): void {
  for (const fd of faults === undefined ? memory : [...memory, faults]) closeSocket(fd)
}

/** Where the connections of a migration come to: the first one decides which migration that is. */
export class Reception {
  readonly #peerTimeoutMs: number
  readonly #onControl: (channel: Channel, id: string) => void
  /** Descriptors of connections that have come, by role and number. */
  readonly #waiting = new Map<string, number>()
  #listener: Listener | undefined
  /** Of the migration; nothing while nobody has come. */
  #id: string | undefined
  #wanted: { readonly names: readonly string[]; resolve(sockets: number[]): void } | undefined

  private constructor(peerTimeoutMs: number, onControl: (channel: Channel, id: string) => void) {
    this.#peerTimeoutMs = peerTimeoutMs
    this.#onControl = onControl
  }

  static async open(address: MigrationAddress, options: ReceptionOptions): Promise<Reception> {
    const { peerTimeoutMs, onControl, ...others } = options
    const reception = new Reception(peerTimeoutMs, onControl)
    reception.#listener = await listen(address, {
      ...{ ...others, onConnection: (fd, preamble) => reception.#take(fd, preamble) },
    })
    return reception
  }

  /** With the port that it has. */
  get address(): MigrationAddress {
    if (this.#listener === undefined) throw new RangeError('it is not open')
    return this.#listener.address
  }

  /**
   * Descriptors of so many connections for memory, in the order of their numbers, and of the one for faults, where there is to be
   * one, when all are there.
   */
  async sockets(memory: number, hasFaults: boolean): Promise<MemorySockets> {
    const names = Array.from({ length: memory }, (_, number) => nameOf('memory', number))
    const sockets = await this.#want(hasFaults ? [...names, nameOf('faults', 0)] : names)
    return { memory: sockets.slice(0, memory), faults: sockets[memory] }
  }

  /** The descriptor of the connection that descriptors come over, when it is there. */
  async descriptors(): Promise<number> {
    const [socket] = await this.#want([nameOf('descriptors', 0)])
    if (socket === undefined) throw new RangeError('nobody came')
    return socket
  }

  #want(names: readonly string[]): Promise<number[]> {
    this.#dropSockets()
    const { promise, resolve } = Promise.withResolvers<number[]>()
    this.#wanted = { names, resolve }
    return promise
  }

  /** Whoever is here was nobody; the next one may come. */
  forget(): void {
    this.#id = undefined
    this.#dropSockets()
  }

  /** It keeps the program from ending no longer. */
  unref(): void {
    this.#listener?.unref()
  }

  /** Nobody comes any more. Idempotent. */
  close(): void {
    this.#listener?.close()
    this.#dropSockets()
  }

  #take(fd: number, { role, number, id }: Preamble): void {
    if (role === 'control' && (this.#id ?? id) === id) {
      this.#id = id
      this.#onControl(new Channel(socketOf(fd), { peerTimeoutMs: this.#peerTimeoutMs }), id)
      return
    }
    const name = nameOf(role, number)
    if (this.#id !== id || this.#waiting.has(name) || this.#wanted?.names.includes(name) !== true) {
      closeSocket(fd)
      return
    }
    this.#waiting.set(name, fd)
    this.#giveSockets()
  }

  #giveSockets(): void {
    const wanted = this.#wanted
    if (wanted === undefined || this.#waiting.size < wanted.names.length) return
    const sockets = wanted.names.flatMap(name => this.#waiting.get(name) ?? [])
    this.#waiting.clear()
    this.#wanted = undefined
    wanted.resolve(sockets)
  }

  #dropSockets(): void {
    for (const fd of this.#waiting.values()) closeSocket(fd)
    this.#waiting.clear()
    this.#wanted = undefined
  }
}

function nameOf(role: ConnectionRole, number: number): string {
  return `${role} ${number}`
}
