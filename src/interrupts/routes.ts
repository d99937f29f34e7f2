import type { EventFd } from '../memory/event-fd.ts'
import { TsvmmError } from '../util/errors.ts'
import type { MsiRoute, MsiRouter } from './interrupts.ts'

export interface MsiMessage {
  readonly addressLow: number
  readonly addressHigh: number
  readonly data: number
}

/** What a hypervisor offers to turn an event descriptor into an interrupt. */
export interface MsiGateway {
  /** Global interrupt numbers are below this. */
  readonly gsiLimit: number
  createEventFd(): EventFd
  /** Replaces the whole table; costly, since the kernel waits for every reader of the old one. */
  setRoutes(routes: readonly ({ readonly gsi: number } & MsiMessage)[]): void
  attach(gsi: number, eventFd: EventFd): void
  detach(gsi: number, eventFd: EventFd): void
  signal(message: MsiMessage): void
}

/**
 * The table of global interrupt numbers: the pins of the userspace IOAPIC first, message-signalled interrupts behind
 * them. Masking a route detaches its event descriptor, which then counts signals; attaching it again delivers them.
 */
export class InterruptRoutes implements MsiRouter {
  readonly #gateway: MsiGateway
  readonly #firstGsi: number
  readonly #messages = new Map<number, MsiMessage>()
  readonly #used = new Set<number>()
  #stale = false

  constructor(gateway: MsiGateway, reservedPins: number) {
    this.#gateway = gateway
    this.#firstGsi = reservedPins
  }

  allocate(): MsiRoute {
    for (let gsi = this.#firstGsi; gsi < this.#gateway.gsiLimit; gsi += 1) {
      if (!this.#used.has(gsi)) return this.open(gsi)
    }
    throw new TsvmmError('ERR_RESOURCE_EXHAUSTED', {
      what: 'interrupt routes',
      reason: `the hypervisor has ${this.#gateway.gsiLimit}`,
    })
  }

  /** The route of a number known beforehand: a pin. Throws ERR_RESOURCE_EXHAUSTED where it is taken. */
  open(gsi: number): MsiRoute {
    if (this.#used.has(gsi))
      throw new TsvmmError('ERR_RESOURCE_EXHAUSTED', { what: 'pins', reason: `${gsi} is in use` })
    this.#used.add(gsi)
    return new Route(gsi, this.#gateway.createEventFd(), this.#gateway, this)
  }

  /** Called by routes; writes the table only where an attached route differs from what the hypervisor knows. */
  update(gsi: number, message: MsiMessage | undefined, isNeeded: boolean): void {
    const known = this.#messages.get(gsi)
    if (message === undefined) this.#messages.delete(gsi)
    else this.#messages.set(gsi, message)
    const isChanged =
      known?.addressLow !== message?.addressLow ||
      known?.addressHigh !== message?.addressHigh ||
      known?.data !== message?.data
    this.#stale ||= isChanged
    if (!this.#stale || !isNeeded) return
    this.#gateway.setRoutes([...this.#messages].map(([number, entry]) => ({ gsi: number, ...entry })))
    this.#stale = false
  }

  release(gsi: number): void {
    this.#used.delete(gsi)
    this.update(gsi, undefined, false)
  }
}

class Route implements MsiRoute {
  readonly gsi: number
  readonly eventFd: EventFd
  readonly #gateway: MsiGateway
  readonly #table: InterruptRoutes
  #message: MsiMessage | undefined
  #isAttached = false
  #isClosed = false

  constructor(gsi: number, eventFd: EventFd, gateway: MsiGateway, table: InterruptRoutes) {
    this.gsi = gsi
    this.eventFd = eventFd
    this.#gateway = gateway
    this.#table = table
  }

  setMessage(addressLow: number, addressHigh: number, data: number): void {
    this.#message = { addressLow, addressHigh, data }
    this.#table.update(this.gsi, this.#message, this.#isAttached)
  }

  mask(): void {
    if (!this.#isAttached) return
    this.#gateway.detach(this.gsi, this.eventFd)
    this.#isAttached = false
  }

  unmask(): void {
    if (this.#isAttached || this.#isClosed || this.#message === undefined) return
    this.#table.update(this.gsi, this.#message, true)
    // KVM looks at the descriptor when it is attached: what was signalled before is delivered now.
    this.#gateway.attach(this.gsi, this.eventFd)
    this.#isAttached = true
  }

  isPending(): boolean {
    return !this.#isAttached && !this.#isClosed && this.eventFd.isPending()
  }

  close(): void {
    if (this.#isClosed) return
    this.mask()
    this.#isClosed = true
    this.#table.release(this.gsi)
    this.eventFd.close()
  }
}
