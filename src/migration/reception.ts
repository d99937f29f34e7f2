import type { MigrationAddress } from './addresses.ts'
import { Channel } from './channel.ts'
import { closeSocket, type Listener, listen, socketOf } from './connections.native.ts'
import type { Preamble } from './preamble.ts'

/** Where the connections of a migration come to: the first one decides which migration that is. */
export class Reception {
  readonly #peerTimeoutMs: number
  readonly #onControl: (channel: Channel, id: string) => void
  readonly #waiting = new Map<number, number>()
  #listener: Listener | undefined
  /** Of the migration; nothing while nobody has come. */
  #id: string | undefined
  #wanted: { readonly count: number; resolve(sockets: number[]): void } | undefined

  private constructor(peerTimeoutMs: number, onControl: (channel: Channel, id: string) => void) {
    this.#peerTimeoutMs = peerTimeoutMs
    this.#onControl = onControl
  }

  /** `onControl` is told of every control connection: of somebody new while nobody is here, of the same migration later on. */
  static async open(
    address: MigrationAddress,
    peerTimeoutMs: number,
    onControl: (channel: Channel, id: string) => void,
  ): Promise<Reception> {
    const reception = new Reception(peerTimeoutMs, onControl)
    reception.#listener = await listen(address, (fd, preamble) => reception.#take(fd, preamble))
    return reception
  }

  /** With the port that it has. */
  get address(): MigrationAddress {
    if (this.#listener === undefined) throw new RangeError('it is not open')
    return this.#listener.address
  }

  /** Descriptors of so many connections for memory, in the order of their numbers, when all are there. */
  memorySockets(count: number): Promise<number[]> {
    const { promise, resolve } = Promise.withResolvers<number[]>()
    this.#wanted = { count, resolve }
    this.#giveSockets()
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
    const isExpected = role === 'memory' && this.#id === id && this.#wanted !== undefined && !this.#waiting.has(number)
    if (!isExpected || number >= (this.#wanted?.count ?? 0)) {
      closeSocket(fd)
      return
    }
    this.#waiting.set(number, fd)
    this.#giveSockets()
  }

  #giveSockets(): void {
    const wanted = this.#wanted
    if (wanted === undefined || this.#waiting.size < wanted.count) return
    const sockets = [...this.#waiting].toSorted(([one], [other]) => one - other).map(([, fd]) => fd)
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
