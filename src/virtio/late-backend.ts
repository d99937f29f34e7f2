import type { QueueBackend, Vring, VringPosition } from './queue-backend.ts'

type ModeBackend = QueueBackend & { setMode(mode: number): void }

/** A back end that is there only while what it serves is open. */
export class LateBackend implements ModeBackend {
  readonly #make: () => ModeBackend
  #backend: ModeBackend | undefined
  #mode: number | undefined

  constructor(make: () => ModeBackend) {
    this.#make = make
  }

  /** Idempotent. */
  open(): void {
    if (this.#backend !== undefined) return
    this.#backend = this.#make()
    if (this.#mode !== undefined) this.#backend.setMode(this.#mode)
  }

  /** Only while it is stopped. Idempotent. */
  close(): void {
    this.#backend?.close()
    this.#backend = undefined
  }

  setMode(mode: number): void {
    this.#mode = mode
    this.#backend?.setMode(mode)
  }

  start(vrings: readonly Vring[], features: bigint): void {
    if (this.#backend === undefined) throw new RangeError('what is served is not open')
    this.#backend.start(vrings, features)
  }

  stop(): Promise<readonly VringPosition[]> {
    return this.#backend?.stop() ?? Promise.resolve([])
  }

  counters(): Record<string, bigint> {
    return this.#backend?.counters() ?? {}
  }
}
