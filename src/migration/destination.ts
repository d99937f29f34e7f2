import type { HandedOver } from '../machine/handover.native.ts'
import type { RamReceiver } from '../memory/ram-transfer.ts'
import { haveSameRanges } from '../snapshot/layers.ts'
import { decodeRecords } from '../snapshot/state-file.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { printable } from '../util/issues.ts'
import { SerialQueue } from '../util/serial-queue.ts'
import type { MigrationAddress } from './addresses.ts'
import { type Channel, ConnectionLost } from './channel.ts'
import { closeSocket } from './connections.native.ts'
import { receiveHandedOver } from './descriptors.native.ts'
import { migrationError } from './error.ts'
import { type DestinationAction, type DestinationInput, type DestinationState, destinationStep } from './handover.ts'
import { LateArrival, tryLate } from './late-arrival.ts'
import type { AnnouncedMachine, ArrivingMachine } from './machines.ts'
import { newestVersions, type Speaker } from './negotiation.ts'
import { commonVersion, handover, lateMemory, type Message, type MessageOf, protocolFeatures } from './protocol.ts'
import { closeSockets, Reception, unlessLost } from './reception.ts'
import { rehearseLoad } from './rehearsal.ts'
import { openTunnel } from './security.ts'
import type { TlsTunnel } from './tls-tunnel.native.ts'

export interface ReceiveOptions {
  /** A peer from which nothing came for so long is gone; 10 s. */
  readonly peerTimeoutMs?: number
  /** Connections are under TLS, with what is there: ca-cert.pem, server-cert.pem, server-key.pem. */
  readonly tlsDir?: string
  /** How long a source that has not heard that the machine is here may come back to ask; 5 min. */
  readonly resolveMs?: number
}

export interface DestinationEvents {
  /** Somebody can connect. */
  onListening?(address: MigrationAddress): void
  /** A connection that did not get through TLS. */
  onRefused?(reason: string): void
  /** A machine is taken, and its memory is on its way. */
  onStarted?(id: string): void
  /** Either side may have it, for this reason: until they meet again, or decide() is called. */
  onDoubt?(reason: string): void
  /** It is this side's and could not go on, for this reason: it is paused. */
  onStill?(reason: string): void
  /** It may go on before all of its memory is there. */
  onLate?(): void
  /** All of it is there. */
  onComplete?(): void
  /** The rest of it never comes. */
  onLost?(reason: string): void
}

/** Makes the machine that was announced, without what is another one's still. Throws what the source is to be told. */
type Build<M extends ArrivingMachine> = (announced: AnnouncedMachine, handedOver?: HandedOver) => Promise<M>

const defaults = { peerTimeoutMs: 10_000, resolveMs: 300_000 } as const

/** The destination of a migration: from the wait for a source until this side has the machine, or nothing is left of it. */
export class MigrationDestination<M extends ArrivingMachine> {
  readonly #address: MigrationAddress
  readonly #speaker: Speaker
  readonly #build: Build<M>
  readonly #options: ReceiveOptions
  readonly #events: DestinationEvents
  readonly #outcome = Promise.withResolvers<M>()
  readonly #changes = new SerialQueue()
  #reception: Reception | undefined
  #state: DestinationState = 'receiving'
  #id = ''
  #channel: Channel | undefined
  #machine: M | undefined
  #isPaused = false
  #receiver: RamReceiver | undefined
  /** It may go on before all of its memory is there. */
  #mayBeLate = false
  #faults: number | undefined
  /** Of a machine that is handed over: the connection for its descriptors. */
  #descriptors: Promise<number> | undefined
  #late: LateArrival | undefined
  #passes = 0
  #onPass: (() => void) | undefined
  /** For how long it had stood still when its state came, and when that was. */
  #paused = { ms: 0, atMs: 0 }
  #lingering: NodeJS.Timeout | undefined

  constructor(
    address: MigrationAddress,
    speaker: Speaker,
    build: Build<M>,
    options: ReceiveOptions = {},
    events: DestinationEvents = {},
  ) {
    this.#address = address
    this.#speaker = speaker
    this.#build = build
    this.#options = options
    this.#events = events
    // It may be over before run() waits for it.
    this.#outcome.promise.catch(() => {})
  }

  /** Of the migration, once somebody has come. */
  get id(): string {
    return this.#id
  }

  /**
   * Once. The machine, running or as it came; paused where it cannot go on (onStill). Throws ERR_MIGRATION where nothing comes of it, and what cancel() was given;
   * nothing is left then. Pending while it is in doubt who has it.
   */
  async run(): Promise<M> {
    const { peerTimeoutMs = defaults.peerTimeoutMs } = this.#options
    this.#reception = await Reception.open(this.#address, {
      ...{ peerTimeoutMs, tunnel: await this.#tunnel(), onControl: (channel, id) => this.#meet(channel, id) },
      onRefused: reason => this.#events.onRefused?.(reason),
    })
    if (this.#state === 'discarded') this.close()
    else this.#events.onListening?.(this.#reception.address)
    return await this.#outcome.promise
  }

  async #tunnel(): Promise<TlsTunnel | undefined> {
    const { tlsDir } = this.#options
    return tlsDir === undefined ? undefined : await openTunnel(this.#address, tlsDir, 'server')
  }

  /** Without effect once this side may have the machine. */
  cancel(reason: unknown): void {
    void this.#hear('fail', reason)
  }

  /**
   * In doubt: `keep` where it is known that the source has not the machine any more, `discard` where it has. Throws ERR_VM_STATE
   * where nothing is in doubt, ERR_DISK_LOCKED where somebody else has a disk of it.
   */
  decide(decision: 'keep' | 'discard'): Promise<void> {
    return this.#changes.run(async () => {
      if (this.#state !== 'ready') {
        throw new TsvmmError('ERR_VM_STATE', { operation: `${decision} it`, state: 'not in doubt' })
      }
      if (decision === 'keep') await this.#machine?.claim()
      await this.#perform(decision, migrationError('it was decided not to keep the machine'))
    })
  }

  /** The machine has ended. */
  abandon(): void {
    this.#late?.abandon()
    this.close()
  }

  /** A source that comes back is not waited for any more. Idempotent. */
  close(): void {
    clearTimeout(this.#lingering)
    if (this.#faults !== undefined) closeSocket(this.#faults)
    this.#faults = undefined
    this.#reception?.close()
    this.#channel?.close()
  }

  /** A source comes, or comes back. */
  #meet(channel: Channel, id: string): void {
    const old = this.#channel
    this.#channel = channel
    this.#id = id
    old?.close()
    const served = old === undefined ? this.#serveFirst(channel) : this.#serve(channel)
    served.catch((error: unknown) => {
      if (this.#channel === channel) void this.#hear('lost', error)
    })
  }

  async #serveFirst(channel: Channel): Promise<void> {
    try {
      await this.#greet(channel)
    } catch {
      // Whoever it was, he has no machine for this side.
      channel.close()
      if (this.#channel !== channel) return
      this.#channel = undefined
      this.#reception?.forget()
      return
    }
    try {
      await this.#accept(channel)
    } catch (error) {
      if (channel.isLost) throw error
      return await this.#hear('fail', error)
    }
    await this.#serve(channel)
  }

  /** Says what is spoken; what does not fit is said before it is thrown. */
  async #greet(channel: Channel): Promise<void> {
    const hello = await channel.expect('hello')
    try {
      const version = commonVersion(this.#speaker.protocol, hello.protocol)
      const known: readonly string[] = protocolFeatures
      const unknown = hello.features.find(feature => !known.includes(feature))
      if (unknown !== undefined) throw new TypeError(`it uses ${printable(unknown)}, which is not known here`)
      if (hello.architecture !== process.arch) {
        throw new TypeError(`it is on ${printable(hello.architecture)}, and this host is ${process.arch}`)
      }
      this.#mayBeLate = hello.features.includes(lateMemory)
      this.#descriptors = hello.features.includes(handover) ? this.#reception?.descriptors() : undefined
      const { software, schemas } = this.#speaker
      channel.send({ type: 'welcome', version, software, schemas: newestVersions(schemas) })
    } catch (error) {
      channel.send({ type: 'failed', reason: reasonOf(error) })
      throw error
    }
  }

  /** Builds the machine that is announced, and begins to receive its memory. */
  async #accept(channel: Channel): Promise<void> {
    const announced = await channel.expect('machine')
    const machine = await this.#make(announced, channel)
    if (this.#state !== 'receiving') return await machine.discard()
    this.#machine = machine
    if (!haveSameRanges(announced.ranges, machine.ram.ranges)) {
      throw migrationError('its memory is not where a machine of its configuration has it')
    }
    if (this.#mayBeLate) tryLate(machine.ram)
    channel.trust()
    if (this.#descriptors !== undefined) return await this.#confirm(channel, machine)
    if (announced.connections === 0) throw migrationError('its memory comes over no connection')
    if (this.#reception === undefined) throw migrationError('nobody listens')
    const sockets = this.#reception.sockets(announced.connections, this.#mayBeLate)
    await this.#confirm(channel, machine)
    const come = await unlessLost(sockets, channel)
    if (this.#state !== 'receiving') return closeSockets(come)
    this.#faults = come.faults
    this.#receiver = machine.ram.createReceiver({
      ...{ sockets: come.memory, stallMs: 0 },
      onPass: pass => {
        this.#passes = pass
        this.#onPass?.()
      },
      onFailure: cause => {
        const error = migrationError(`memory cannot be received: ${reasonOf(cause)}`, cause)
        if (this.#state === 'receiving') void this.#hear('fail', error)
        // The rest comes over new ones.
        else if (this.#late?.isComplete === false) channel.close()
      },
    })
  }

  async #confirm(channel: Channel, { components }: M): Promise<void> {
    channel.send({ type: 'accepted', records: await rehearseLoad(components) })
    this.#events.onStarted?.(this.#id)
  }

  /** Of the descriptors that come with it, where it is handed over. */
  async #make(announced: MessageOf<'machine'>, channel: Channel): Promise<M> {
    if (this.#descriptors === undefined) return await this.#build(announced)
    const handedOver = await receiveHandedOver(this.#descriptors, announced.descriptors ?? [], channel.lost)
    try {
      return await this.#build(announced, handedOver)
    } finally {
      handedOver.close()
    }
  }

  /** Hears what the source says, until the connection ends. */
  async #serve(channel: Channel): Promise<void> {
    for (;;) {
      const message = await channel.receive()
      if (this.#channel !== channel) return
      await this.#take(channel, message)
    }
  }

  async #take(channel: Channel, message: Message): Promise<void> {
    switch (message.type) {
      case 'pass':
        return
      case 'state':
        return await this.#load(message)
      case 'commit':
        return await this.#hear('commit', undefined)
      case 'abort':
        return await this.#hear('abort', migrationError(`the source gives up: ${message.reason}`))
      case 'rest':
        return await this.#takeRest(channel, message.connections)
      case 'lost':
        if (this.#late?.isComplete === false) {
          this.#events.onLost?.(message.reason)
        }
        return
      case 'bye':
        if (this.#state !== 'ready' && this.#late?.isComplete !== false) this.close()
        return
      default:
        channel.close()
    }
  }

  async #takeRest(channel: Channel, connections: number): Promise<void> {
    if (this.#state !== 'owner' || this.#reception === undefined) return channel.close()
    channel.trust()
    if (this.#late?.isComplete === false) await this.#late.resume(channel, this.#reception, connections)
    else channel.send({ type: 'complete' })
  }

  /** These pages come later. */
  #postpone(missing: Uint8Array): void {
    const [ram, receiver, faults] = [this.#machine?.ram, this.#receiver, this.#faults]
    if (ram === undefined || receiver === undefined || faults === undefined) {
      throw migrationError('memory that comes later was not spoken of')
    }
    this.#faults = undefined
    this.#events.onLate?.()
    this.#late = new LateArrival({
      ...{ ram, receiver, faults, missing },
      peerTimeoutMs: this.#options.peerTimeoutMs ?? defaults.peerTimeoutMs,
      onBroken: () => this.#channel?.close(),
      onComplete: () => {
        this.#channel?.send({ type: 'complete' })
        this.#events.onComplete?.()
        this.#linger()
      },
    })
  }

  async #load({ pass, records, missing, isPaused, pausedMs }: MessageOf<'state'>): Promise<void> {
    if (this.#state !== 'receiving') return
    this.#isPaused = isPaused
    this.#paused = { ms: pausedMs, atMs: performance.now() }
    try {
      const decoded = decodeRecords(records)
      while (this.#passes < pass && this.#state === 'receiving') {
        await new Promise<void>(resolve => {
          this.#onPass = resolve
        })
      }
      if (this.#state !== 'receiving') return
      if (missing !== undefined) this.#postpone(missing)
      this.#machine?.load(decoded)
    } catch (error) {
      return await this.#hear('fail', error)
    }
    await this.#hear('loaded', undefined)
  }

  #hear(input: DestinationInput, reason: unknown): Promise<void> {
    return this.#changes.run(async () => {
      if (input !== 'commit' || this.#state !== 'ready') return await this.#perform(input, reason)
      try {
        await this.#machine?.claim()
      } catch (error) {
        return await this.#perform('commit-unlocked', error)
      }
      await this.#perform('commit', undefined)
    })
  }

  async #perform(input: DestinationInput, reason: unknown): Promise<void> {
    const before = this.#state
    const { state, actions } = destinationStep(before, input)
    this.#state = state
    for (const action of actions) await this.#act(action, reason)
    if (state === 'ready' && input === 'lost') this.#events.onDoubt?.(reasonOf(reason))
    if (state === before) return
    if (state === 'owner' || state === 'returned' || before === 'ready') this.#linger()
    else if (state === 'discarded') this.close()
  }

  async #act(action: DestinationAction, reason: unknown): Promise<void> {
    switch (action) {
      case 'send-ready':
        this.#channel?.send({ type: 'ready' })
        return
      case 'send-failed':
        this.#channel?.send({ type: 'failed', reason: reasonOf(reason) })
        return
      case 'send-owned':
        this.#channel?.send({ type: 'owned' })
        return
      case 'send-returned':
        this.#channel?.send({ type: 'returned', reason: reasonOf(reason ?? 'it was given up') })
        return
      case 'go-on':
        return await this.#goOn()
      case 'discard':
        return await this.#discard(reason)
    }
  }

  async #goOn(): Promise<void> {
    const machine = this.#machine
    if (machine === undefined) return
    const pausedMs = this.#paused.ms + performance.now() - this.#paused.atMs
    try {
      await machine.goOn(this.#isPaused, pausedMs)
    } catch (error) {
      // Nobody else has it any more: it is not lost for that.
      this.#events.onStill?.(reasonOf(error))
    }
    this.#outcome.resolve(machine)
  }

  async #discard(reason: unknown): Promise<void> {
    this.#onPass?.()
    this.#receiver?.close()
    this.#late?.abandon()
    try {
      await this.#machine?.discard()
    } finally {
      this.#outcome.reject(reason instanceof ConnectionLost ? migrationError(reason.message, reason) : reason)
    }
  }

  /** A source that has not heard what was decided may come back; that keeps nobody from ending. */
  #linger(): void {
    if (this.#late?.isComplete === false && this.#state === 'owner') return
    this.#receiver?.close()
    this.#reception?.unref()
    this.#lingering = setTimeout(() => this.close(), this.#options.resolveMs ?? defaults.resolveMs)
    this.#lingering.unref()
  }
}
