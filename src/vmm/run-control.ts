import type { Machine } from '../machine/machine.ts'
import { TsvmmError } from '../util/errors.ts'
import { SerialQueue } from '../util/serial-queue.ts'
import { judge, type VmRequest, type VmState } from './requests.ts'

/** Whether the machine may do as it likes. */
export interface Ownership {
  /** Its memory is on its way to another host. */
  readonly isUnderWay: boolean
  /** What only one machine may have is this one's from now on; throws where another one has it. */
  claim(): Promise<void>
}

/** In which state a machine is, and how it gets from one to another: requests are carried out one at a time in the order they come. */
export class RunControl {
  state: VmState
  /** A reset by the guest itself waits or is carried out. */
  isResetting = false
  readonly #components: Machine
  readonly #ownership: () => Ownership
  readonly #requests = new SerialQueue()
  readonly #loss = new AbortController()

  constructor(state: VmState, components: Machine, ownership: () => Ownership) {
    this.state = state
    this.#components = components
    this.#ownership = ownership
  }

  /** Aborted, with the reason, when pages of the machine's memory cannot be had any more. */
  get loss(): AbortSignal {
    return this.#loss.signal
  }

  /** The machine must not run any more. */
  lose(error: TsvmmError): void {
    this.#loss.abort(error)
  }

  /** Throws ERR_VM_STATE where it does not fit. */
  request(request: VmRequest, action: () => Promise<void> | void): Promise<void> {
    return this.inTurn(async () => {
      switch (judge(request, this.state, this.#ownership().isUnderWay)) {
        case 'already':
          return
        case 'deny': {
          const isOnlyThat = judge(request, this.state) === 'accept'
          throw new TsvmmError('ERR_VM_STATE', { operation: request, state: isOnlyThat ? 'being moved' : this.state })
        }
        case 'accept':
          await action()
      }
    })
  }

  /** As request(), of one that is never needless and has a result. */
  async find<T>(request: VmRequest, action: () => Promise<T>): Promise<T> {
    const found = Promise.withResolvers<T>()
    await this.request(request, async () => found.resolve(await action()))
    return found.promise
  }

  /** Whatever the state. */
  inTurn<T>(action: () => Promise<T>): Promise<T> {
    return this.#requests.run(action)
  }

  /** All components come to rest, or all go on. */
  async park(): Promise<void> {
    try {
      await this.#components.pause()
    } catch (error) {
      if (this.state === 'running') this.#components.resume()
      throw error
    }
  }

  /** All components go on, or all stay at rest. */
  async go(): Promise<void> {
    this.loss.throwIfAborted()
    await this.#ownership().claim()
    try {
      this.#components.resume()
    } catch (error) {
      await this.#components.pause()
      throw error
    }
    this.state = 'running'
  }

  /** One that runs stands still meanwhile. */
  async whilePaused<T>(action: () => Promise<T>): Promise<T> {
    if (this.state !== 'running') return await action()
    await this.park()
    // Where it cannot go on it stays what it is then: paused.
    this.state = 'paused'
    try {
      return await action()
    } finally {
      await this.go()
    }
  }

  /** In turn: it stands still to be handed over. Returns whether it did before. Throws ERR_VM_STATE. */
  async leave(): Promise<boolean> {
    let isPaused: boolean | undefined
    while (isPaused === undefined) isPaused = await this.inTurn(() => this.#leave())
    return isPaused
  }

  /** In turn: one that is not handed over goes on, or is paused. */
  stay(isPaused: boolean): Promise<void> {
    return this.inTurn(async () => {
      if (this.state !== 'moving') return
      this.state = 'paused'
      if (!isPaused) await this.go()
    })
  }

  /** Nothing where its guest is to be reset first, which nobody would know of elsewhere. */
  async #leave(): Promise<boolean | undefined> {
    if (judge('pause', this.state) === 'deny') {
      throw new TsvmmError('ERR_VM_STATE', { operation: 'send-migration', state: this.state })
    }
    const isPaused = this.state === 'paused'
    if (!isPaused) await this.park()
    if (this.isResetting) {
      if (!isPaused) await this.go()
      return undefined
    }
    this.state = 'moving'
    return isPaused
  }
}
