import type { Socket } from 'node:net'
import { Relay } from './relay.ts'

/** What happens at one point of a migration. */
export interface Fault {
  /** `call`: nothing to the connections; `onStrike` does something. */
  readonly kind: 'cut' | 'stall' | 'corrupt' | 'call'
  /** The piece of what is said at which it does, counted over all connections in both directions. */
  readonly piece: number
  /** How much of the piece is passed on before, or where it is changed, 0 to 1. */
  readonly share: number
}

/**
 * Between both sides of a migration, at Unix sockets: breaks once, at the point of a fault, and is whole again for whoever connects
 * anew.
 */
export class FaultyLink implements AsyncDisposable {
  #relay: Relay | undefined
  #fault: Fault | undefined
  readonly #stalled = new Set<Socket>()
  readonly #onStrike: () => void
  /** That have been passed on. */
  pieces = 0

  private constructor(fault: Fault | undefined, onStrike: () => void) {
    this.#fault = fault
    this.#onStrike = onStrike
  }

  static async open(path: string, target: string, fault?: Fault, onStrike = () => {}): Promise<FaultyLink> {
    const link = new FaultyLink(fault, onStrike)
    link.#relay = await Relay.open({ path }, { path: target }, ({ source, destination }) => {
      source.on('data', bytes => link.#pass(bytes, source, destination))
      destination.on('data', bytes => link.#pass(bytes, destination, source))
    })
    return link
  }

  get hasStruck(): boolean {
    return this.#fault === undefined
  }

  /** Whether neither side has a connection any more. */
  get isQuiet(): boolean {
    return this.#relay?.sockets.size === 0
  }

  #pass(bytes: Buffer, from: Socket, to: Socket): void {
    // It is heard by nobody; that somebody hangs up is.
    if (this.#stalled.has(from)) return
    const fault = this.#fault
    const piece = this.pieces++
    if (fault === undefined || piece !== fault.piece) {
      to.write(bytes)
      return
    }
    this.#fault = undefined
    this.#strike(fault, bytes, to)
  }

  #strike({ kind, share }: Fault, bytes: Buffer, to: Socket): void {
    const at = Math.floor(share * bytes.length)
    if (kind === 'corrupt') bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << (at % 8)), at)
    to.write(kind === 'corrupt' ? bytes : bytes.subarray(0, at))
    this.#onStrike()
    if (kind === 'cut') this.#relay?.cut()
    if (kind === 'stall') for (const socket of this.#relay?.sockets ?? []) this.#stalled.add(socket)
    if (kind === 'call') to.write(bytes.subarray(at))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#relay?.[Symbol.asyncDispose]()
  }
}
