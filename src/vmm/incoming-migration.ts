import { reasonOf, TsvmmError } from '../util/errors.ts'
import type { ArrivalOptions } from './arrival.ts'
import type { Undecided } from './departure.ts'
import type { VmmEvent } from './monitor-events.ts'
import type { Vm } from './vm.ts'

/** The wait of a VMM for a machine from another host. */
export class IncomingMigration {
  readonly #tell: (event: string, properties?: VmmEvent['properties']) => void
  #waiting: AbortController | undefined
  #over = Promise.resolve()
  /** A migration of which it is not known which side has the machine. */
  #undecided: Undecided | undefined

  constructor(tell: (event: string, properties?: VmmEvent['properties']) => void) {
    this.#tell = tell
  }

  get isUnderWay(): boolean {
    return this.#waiting !== undefined
  }

  /** Resolves when it is known whether the machine is here, in doubt when that is decided; at once where none is waited for. */
  get over(): Promise<void> {
    return this.#over
  }

  /** `receive` waits, and `adopt` takes what has come. Throws what `receive` throws. */
  async run(
    receive: (options: ArrivalOptions & { signal: AbortSignal }) => Promise<Vm>,
    adopt: (vm: Vm) => void,
    options: ArrivalOptions & { signal: AbortSignal },
  ): Promise<void> {
    const waiting = new AbortController()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting = waiting
    this.#over = promise
    try {
      adopt(await receive(this.#following({ ...options, signal: AbortSignal.any([waiting.signal, options.signal]) })))
      this.#tell('migration-receive-finished')
    } catch (error) {
      this.#tell('migration-receive-failed', { reason: reasonOf(error) })
      throw error
    } finally {
      this.#waiting = undefined
      this.#undecided = undefined
      resolve()
    }
  }

  /** Without effect once the machine may be here. */
  cancel(): void {
    this.#waiting?.abort(new TsvmmError('ERR_ABORTED', { operation: 'receive-migration' }))
  }

  /** The migration of that id, where it is in doubt which side has the machine. */
  undecided(id: string): Undecided | undefined {
    return this.#undecided?.id === id ? this.#undecided : undefined
  }

  #following<Options extends ArrivalOptions>(options: Options): Options {
    return {
      ...options,
      onListening: address => {
        this.#tell('migration-receive-ready', { url: address })
        options.onListening?.(address)
      },
      onRefused: reason => this.#tell('migration-receive-refused', { reason }),
      onStill: reason => this.#tell('migration-receive-paused', { reason }),
      onStarted: id => this.#tell('migration-receive-started', { id }),
      onDoubt: (undecided, reason) => {
        this.#undecided = undecided
        this.#tell('migration-in-doubt', { id: undecided.id, reason })
      },
    }
  }
}
