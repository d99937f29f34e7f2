import { ramBytesOf } from '../memory/ram-image.ts'
import type { RamSender } from '../memory/ram-transfer.ts'
import { encodeRecords } from '../snapshot/state-file.ts'
import { refusePinned, saveAll } from '../state/walk.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { randomBytes } from '../util/random.ts'
import { SerialQueue } from '../util/serial-queue.ts'
import type { MigrationAddress } from './addresses.ts'
import { type Channel, ConnectionLost } from './channel.ts'
import { closeSocket } from './connections.native.ts'
import { MemoryCopy } from './copy.ts'
import { migrationError } from './error.ts'
import { type SourceAction, type SourceInput, type SourceState, sourceGreeting, sourceStep } from './handover.ts'
import type { DepartingMachine } from './machines.ts'
import { MemoryRest } from './memory-rest.ts'
import { encodePages } from './missing-pages.ts'
import type { Speaker } from './negotiation.ts'
import type { MigrationProgress, MigrationReport } from './progress.ts'
import type { Message } from './protocol.ts'
import { type SendOptions, type SendSettings, withDefaults } from './send-options.ts'
import { SourceLink } from './source-link.ts'

export interface SourceEvents {
  /** The destination takes the machine, and its memory is on its way. */
  onStarted?(): void
  onProgress?(progress: MigrationProgress): void
  /** Either side may have it, for this reason: until they meet again, or decide() is called. */
  onDoubt?(reason: string): void
}

const progressMs = 250

/** The source of a migration: from the first connection until the destination has the machine, or this side keeps it. */
export class MigrationSource {
  readonly id = Buffer.from(randomBytes(16)).toString('hex')
  readonly #machine: DepartingMachine
  readonly #speaker: Speaker
  readonly #settings: SendSettings
  readonly #events: SourceEvents
  readonly #link: SourceLink
  readonly #begunMs = performance.now()
  readonly #outcome = Promise.withResolvers<MigrationReport>()
  /** Gives up what goes before the machine is offered. */
  readonly #stop = new AbortController()
  readonly #changes = new SerialQueue()
  #ticker: NodeJS.Timeout | undefined
  #state: SourceState = 'moving'
  #phase: MigrationProgress['phase'] = 'connecting'
  #channel: Channel | undefined
  #copy: MemoryCopy | undefined
  #sender: RamSender | undefined
  /** The connection over which the destination asks for pages, until somebody answers there. */
  #faults: number | undefined
  #rest: MemoryRest | undefined
  #downtimeMs = 0
  #pausedAtMs = 0

  constructor(
    machine: DepartingMachine,
    address: MigrationAddress,
    speaker: Speaker,
    options: SendOptions,
    events: SourceEvents = {},
  ) {
    this.#machine = machine
    this.#speaker = speaker
    this.#settings = withDefaults(options, ramBytesOf(machine.ram.ranges))
    this.#events = events
    this.#link = new SourceLink(address, this.id, this.#settings)
  }

  get progress(): MigrationProgress {
    const nothing = { passes: 0, bytesDone: 0, bytesTotal: 0, bytesSent: 0, bytesPerSecond: 0, dirtyBytesPerSecond: 0 }
    return {
      ...{ phase: this.#phase, id: this.id, elapsedMs: performance.now() - this.#begunMs },
      ...(this.#copy?.progress ?? { ...nothing, throttlePercent: 0 }),
      ...this.#rest?.counters,
    }
  }

  /**
   * Once. Resolves when the destination has the machine. Throws ERR_MIGRATION, or the reason that cancel() was given, where it
   * stays here, as it was before. Pending while that is in doubt.
   */
  run(): Promise<MigrationReport> {
    // What fails beyond all that is foreseen, as letting the machine go on, is told, too.
    this.#run().catch((error: unknown) => this.#outcome.reject(error))
    return this.#outcome.promise
  }

  /** Without effect once the destination may have the machine. */
  cancel(reason: unknown): void {
    this.#hear('cancel', reason)
  }

  /** The machine is gone here: where its memory is still needed at the destination it is lost. */
  abandon(reason: unknown): void {
    this.cancel(reason)
    this.#rest?.abandon(reason)
    // Where nothing is in doubt there is nothing to decide.
    this.decide('discard').catch(() => {})
  }

  /**
   * In doubt: `keep` where it is known that the destination has not the machine and never will, `discard` where it has it.
   * Throws ERR_VM_STATE where nothing is in doubt, ERR_DISK_LOCKED where somebody else has a disk of it.
   */
  decide(decision: 'keep' | 'discard'): Promise<void> {
    return this.#changes.run(async () => {
      if (this.#state !== 'committed') {
        throw new TsvmmError('ERR_VM_STATE', { operation: `${decision} it`, state: 'not in doubt' })
      }
      if (decision === 'keep') await this.#machine.claim()
      await this.#perform(decision, migrationError('it was decided to keep the machine'))
    })
  }

  async #run(): Promise<void> {
    this.#ticker = setInterval(() => this.#events.onProgress?.(this.progress), progressMs)
    this.#ticker.unref()
    try {
      await this.#move()
      await this.#offer()
    } catch (error) {
      const input = error instanceof ConnectionLost ? 'lost' : 'cancel'
      await this.#perform(input, this.#stop.signal.aborted ? this.#stop.signal.reason : error)
    }
  }

  /** All that is done while the machine runs. */
  async #move(): Promise<void> {
    const { signal } = this.#stop
    const machine = this.#machine
    refusePinned(machine.components)
    if (this.#settings.isLocal) await refusePrivate(machine)
    await this.#link.prepare()
    const channel = await this.#link.connect(signal)
    this.#channel = channel
    await this.#link.agree(channel, machine, this.#speaker, signal)
    this.#listen(channel)
    if (this.#settings.isLocal) return this.#events.onStarted?.()
    const { peerTimeoutMs, deltaBytes, bytesPerSecond } = this.#settings
    if (this.#settings.postcopy !== 'never') this.#faults = await this.#link.openFaults(signal)
    const sockets = await this.#link.openMemory(signal)
    const sender = machine.ram.createSender({ sockets, stallMs: peerTimeoutMs, deltaBytes, bytesPerSecond })
    this.#sender = sender
    this.#copy = new MemoryCopy(machine, sender, this.#settings, (number, pages) => {
      channel.send({ type: 'pass', number, pages })
      this.#events.onProgress?.(this.progress)
    })
    this.#phase = 'copying'
    this.#events.onStarted?.()
    await this.#copy.run(signal)
  }

  /** The machine stands still; the last of its memory and its state go over side by side. */
  async #offer(): Promise<void> {
    const isPaused = await this.#machine.leave()
    this.#pausedAtMs = performance.now()
    this.#stop.signal.throwIfAborted()
    this.#phase = 'handing-over'
    await this.#perform('offer', undefined)
    // From here on what fails is an input like any other.
    try {
      const memory = this.#copy?.isLate === true ? this.#postpone(this.#copy) : this.#finish()
      const records = encodeRecords(saveAll(this.#machine.components))
      const pausedMs = performance.now() - this.#pausedAtMs
      this.#channel?.send({ ...{ type: 'state', ...memory }, records, isPaused, pausedMs })
    } catch (error) {
      this.#hear('cancel', error)
    }
  }

  #finish(): { readonly pass: number } {
    const rest = this.#copy?.finish(this.#stop.signal)
    rest?.sent.catch((error: unknown) => this.#hear('cancel', error))
    return { pass: rest?.pass ?? 0 }
  }

  /** What is left follows; the destination can ask for it from now on. */
  #postpone(copy: MemoryCopy): { readonly pass: number; readonly missing: Uint8Array } {
    const { pass, missing } = copy.late()
    const faults = this.#faults
    this.#faults = undefined
    if (faults !== undefined) this.#sender?.answer(faults, 0, missing)
    return { pass, missing: encodePages(missing) }
  }

  /** Hears what the destination says, until the connection ends. */
  #listen(channel: Channel): void {
    const listen = async () => {
      for (;;) this.#hearMessage(await channel.receive())
    }
    listen().catch((error: unknown) => {
      if (this.#channel === channel) this.#hear('lost', error)
    })
  }

  #hearMessage(message: Message): void {
    switch (message.type) {
      case 'ready':
      case 'owned':
        this.#hear(message.type, undefined)
        return
      case 'complete':
        this.#rest?.complete()
        return
      case 'failed':
      case 'returned':
        this.#hear(message.type, migrationError(`the destination gives up: ${message.reason}`))
        return
      default:
        this.#channel?.close()
    }
  }

  #hear(input: SourceInput, reason: unknown): void {
    if (this.#state === 'moving') {
      this.#stop.abort(reason)
      return
    }
    this.#changes.run(() => this.#perform(input, reason)).catch((error: unknown) => this.#outcome.reject(error))
  }

  async #perform(given: SourceInput, reason: unknown): Promise<void> {
    const input = given === 'ready' && this.#state === 'offered' ? await this.#prepareCommit() : given
    const before = this.#state
    const { state, actions } = sourceStep(before, input)
    this.#state = state
    for (const action of actions) await this.#act(action, reason)
    if (state === before || state === 'offered' || state === 'committed') return
    if (state === 'moved') this.#downtimeMs = performance.now() - this.#pausedAtMs
    if (state === 'moved' && this.#copy?.isLate === true && input !== 'discard') return this.#complete()
    this.#close()
    if (state === 'moved') this.#outcome.resolve(this.#report())
    else this.#outcome.reject(asMigrationError(reason))
    // That the destination has heard who has the machine is worth only so much.
    if (state === 'kept') setTimeout(() => this.#channel?.close(), this.#settings.resolveMs).unref()
    else this.#sayGoodbye()
  }

  /** The rest of the memory follows. */
  #complete(): void {
    if (this.#sender === undefined) return
    this.#phase = 'completing'
    this.#copy?.release()
    this.#rest = new MemoryRest(this.#machine, this.#link, this.#settings, this.#sender)
    const run = async () => {
      try {
        await this.#rest?.run(this.#channel)
        this.#outcome.resolve(this.#report())
      } catch (error) {
        this.#outcome.reject(asMigrationError(error))
      } finally {
        this.#close()
      }
    }
    void run()
  }

  #close(): void {
    clearInterval(this.#ticker)
    this.#copy?.close()
    if (this.#faults !== undefined) closeSocket(this.#faults)
    this.#faults = undefined
  }

  #sayGoodbye(): void {
    this.#channel?.send({ type: 'bye' })
    this.#channel?.close()
  }

  /** What was written to its disks is on them, and they are given away, before anything is said that cannot be taken back. */
  async #prepareCommit(): Promise<SourceInput> {
    try {
      await this.#machine.cede(this.#settings.isLocal)
      return 'ready'
    } catch (error) {
      // Where it cannot be had back it cannot go on, and says so then.
      await this.#machine.claim().catch(() => {})
      this.#hear('cancel', migrationError(`its disks cannot be given away: ${reasonOf(error)}`, error))
      return 'offer'
    }
  }

  async #act(action: SourceAction, reason: unknown): Promise<void> {
    switch (action) {
      case 'release-locks':
      case 'take-locks':
        // They are released by now, and are taken by the machine that goes on.
        return
      case 'send-commit':
        this.#channel?.send({ type: 'commit' })
        return
      case 'send-abort':
        this.#channel?.send({ type: 'abort', reason: reasonOf(reason) })
        return
      case 'go-on':
        this.#copy?.close()
        return await this.#goOn()
      case 'dial':
        void this.#redial(reason)
        return
      case 'close':
      case 'stay-paused':
        // Goodbye is said in the end.
        return
    }
  }

  /** One that cannot is paused: the destination is told, and nothing is left behind all the same. */
  async #goOn(): Promise<void> {
    try {
      await this.#machine.stay()
    } catch (error) {
      this.#outcome.reject(error)
    }
  }

  /** Meets the destination again, and says what was said last. */
  async #redial(reason: unknown): Promise<void> {
    if (this.#state === 'committed') {
      this.#phase = 'in-doubt'
      this.#events.onDoubt?.(reasonOf(reason))
    }
    const channel = await this.#link.reconnect(() => sourceGreeting(this.#state) !== undefined)
    // It may have been decided while that was made.
    const greeting = sourceGreeting(this.#state)
    if (channel === undefined || greeting === undefined) return channel?.close()
    this.#channel = channel
    this.#listen(channel)
    if (greeting === 'commit') channel.send({ type: 'commit' })
    else channel.send({ type: 'abort', reason: 'the source has kept the machine' })
  }

  #report(): MigrationReport {
    const { passes, bytesSent, elapsedMs } = this.progress
    return { passes, totalMs: elapsedMs, downtimeMs: this.#downtimeMs, bytesSent }
  }
}

/** Throws ERR_MIGRATION, and ERR_MEMORY, where it has something that cannot be handed over. */
async function refusePrivate({ ram, handover }: DepartingMachine): Promise<void> {
  handover()
  await ram.complete?.()
}

function asMigrationError(reason: unknown): unknown {
  return reason instanceof ConnectionLost ? migrationError(`the connection is lost: ${reason.message}`, reason) : reason
}
