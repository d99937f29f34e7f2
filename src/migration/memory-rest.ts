import { imagePageBytes, imagePagesOf } from '../memory/ram-image.ts'
import type { RamSender } from '../memory/ram-transfer.ts'
import { reasonOf } from '../util/errors.ts'
import type { Channel, ConnectionLost } from './channel.ts'
import type { DepartingMachine } from './machines.ts'
import { decodePages } from './missing-pages.ts'
import type { SendSettings } from './send-options.ts'
import type { SourceLink } from './source-link.ts'

/** The rest of the memory of a machine that runs at the destination: it goes there, as often as both sides lose each other. */
export class MemoryRest {
  readonly #machine: DepartingMachine
  readonly #link: SourceLink
  readonly #settings: SendSettings
  readonly #end = Promise.withResolvers<'complete'>()
  #isOver = false
  #channel: Channel | undefined
  /** Answers already. Nothing while both sides have lost each other. */
  #sender: RamSender | undefined
  /** As of the last moment at which there was a sender; `bytesBefore`: of those before it. */
  #counted = { bytesDone: 0, bytesTotal: 0, bytesSent: 0 }
  #bytesBefore = 0

  constructor(machine: DepartingMachine, link: SourceLink, settings: SendSettings, sender: RamSender) {
    this.#machine = machine
    this.#link = link
    this.#settings = settings
    this.#sender = sender
    this.#end.promise.catch(() => {})
  }

  /** Resolves when the destination has it all. Throws what abandon() was given. */
  async run(first: Channel | undefined): Promise<void> {
    try {
      for (let channel = first; (await this.#serve(channel)) !== 'complete'; channel = await this.#meet())
        channel?.close()
      this.#channel?.send({ type: 'bye' })
    } finally {
      this.#isOver = true
      this.#hangUp()
      this.#channel?.close()
    }
  }

  get counters(): { readonly bytesDone: number; readonly bytesTotal: number; readonly bytesSent: number } {
    if (this.#sender === undefined) return this.#counted
    const { pagesDone, pagesTotal, bytesSent } = this.#sender.counters()
    return {
      ...{ bytesDone: pagesDone * imagePageBytes, bytesTotal: pagesTotal * imagePageBytes },
      bytesSent: this.#bytesBefore + bytesSent,
    }
  }

  /** The destination says that it has it. */
  complete(): void {
    this.#isOver = true
    this.#end.resolve('complete')
  }

  /** The rest never comes: the machine cannot live without. */
  abandon(reason: unknown): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#channel?.send({ type: 'lost', reason: reasonOf(reason) })
    this.#end.reject(reason)
  }

  async #serve(channel: Channel | undefined): Promise<'complete' | ConnectionLost | undefined> {
    this.#channel = channel
    if (channel !== undefined) this.#sender?.sendRest().catch(() => channel.close())
    return await Promise.race([this.#end.promise, channel?.lost])
  }

  /** Nothing but a person gives it up. */
  async #meet(): Promise<Channel | undefined> {
    this.#hangUp()
    const met = this.#link.reconnect(() => !this.#isOver)
    const channel = await Promise.race([met, this.#end.promise])
    if (channel === 'complete' || channel === undefined) return undefined
    try {
      await this.#resume(channel)
      return channel
    } catch {
      channel.close()
      return undefined
    }
  }

  async #resume(channel: Channel): Promise<void> {
    const { connections, peerTimeoutMs, bytesPerSecond } = this.#settings
    channel.trust()
    channel.send({ type: 'rest', connections })
    const answer = await channel.receive()
    if (answer.type === 'complete') return this.complete()
    if (answer.type !== 'missing') throw new TypeError('it says something else')
    const pages = imagePagesOf(this.#machine.ram.ranges)
    const missing = decodePages(answer.pages, pages)
    const never = new AbortController().signal
    const sockets = await this.#link.openMemory(never)
    this.#bytesBefore = this.#counted.bytesSent
    this.#sender = this.#machine.ram.createSender({ sockets, stallMs: peerTimeoutMs, deltaBytes: 0, bytesPerSecond })
    this.#sender.answer(await this.#link.openFaults(never), 0, missing)
    this.#listen(channel)
  }

  #hangUp(): void {
    this.#counted = this.counters
    this.#sender?.close()
    this.#sender = undefined
  }

  #listen(channel: Channel): void {
    const listen = async () => {
      for (;;) {
        if ((await channel.receive()).type === 'complete') this.complete()
      }
    }
    listen().catch(() => {})
  }
}
