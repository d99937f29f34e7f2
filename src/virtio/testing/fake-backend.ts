import type { MailboxBackend, MailboxHandlers, Vring, VringPosition } from '../queue-backend.ts'

interface Answer {
  readonly queue: number
  readonly head: number
  readonly bytes: readonly number[]
}

/** A back end that walks no rings: chains come from the test, and it judges calls as the engines of the addon do. */
export class FakeBackend implements MailboxBackend {
  rings: readonly Vring[] = []
  features = 0n
  mode: number | undefined
  isRunning = false
  isClosed = false
  starts = 0
  /** Thrown by the next start. */
  refusal: Error | undefined
  /** Chains that went through each ring; a stop tells them as positions. */
  served = 0
  readonly answers: Answer[] = []
  #handlers: MailboxHandlers = { onChain: () => {}, onFailure: () => {} }
  #held: PromiseWithResolvers<void> | undefined

  /** To be given to a device as its `createBackend`. */
  readonly serve = (handlers: MailboxHandlers): this => {
    this.#handlers = handlers
    return this
  }

  /** For devices whose engine only reports failures. */
  readonly serveFailures = (onFailure: MailboxHandlers['onFailure']): this => {
    this.#handlers = { onChain: () => {}, onFailure }
    return this
  }

  /** The driver has made a chain available. */
  offer(queue: number, head: number, readable: Uint8Array | readonly number[], writableBytes: number): void {
    if (this.isRunning) this.#handlers.onChain(queue, head, Uint8Array.from(readable), writableBytes)
  }

  fail(queue: number, reason: string): void {
    this.#handlers.onFailure(queue, reason)
  }

  start(vrings: readonly Vring[], features: bigint): void {
    if (this.isClosed) throw new Error('the engine is closed')
    if (this.isRunning) throw new Error('the engine is running')
    const refusal = this.refusal
    this.refusal = undefined
    if (refusal !== undefined) throw refusal
    if (vrings.length === 0) return
    this.starts += 1
    this.rings = vrings
    this.features = features
    this.isRunning = true
  }

  /** From now on a stop takes until `release`. */
  holdStops(): void {
    this.#held = Promise.withResolvers()
  }

  async release(): Promise<void> {
    this.#held?.resolve()
    this.#held = undefined
    await new Promise(resolve => setImmediate(resolve))
  }

  async stop(): Promise<readonly VringPosition[]> {
    if (!this.isRunning) return []
    await this.#held?.promise
    if (!this.isRunning) return []
    this.isRunning = false
    return this.rings.map(({ index, nextAvailable, nextUsed }) => {
      return { index, nextAvailable: nextAvailable + this.served, nextUsed: nextUsed + this.served }
    })
  }

  /** Answers to a stopped engine come too late and do nothing. */
  complete(queue: number, head: number, bytes: Uint8Array): void {
    if (this.isRunning) this.answers.push({ queue, head, bytes: [...bytes] })
  }

  /** The answers since the last call. */
  take(): Answer[] {
    return this.answers.splice(0)
  }

  setMode(mode: number): void {
    if (this.isClosed) throw new Error('the engine is closed')
    this.mode = mode
  }

  counters(): Record<string, bigint> {
    return { starts: BigInt(this.starts) }
  }

  close(): void {
    this.isRunning = false
    this.isClosed = true
  }
}
