import type { EventFd } from '../../memory/event-fd.ts'
import type { MsiGateway, MsiMessage } from '../routes.ts'

/** An event descriptor whose signals are consumed by whom it is attached to. */
export class FakeEventFd implements EventFd {
  readonly fd: number
  isClosed = false
  onSignal: (() => void) | undefined
  #count = 0

  constructor(fd: number) {
    this.fd = fd
  }

  signal(): void {
    if (this.isClosed) throw new Error('EventFd is closed')
    this.#count += 1
    if (this.onSignal === undefined) return
    this.#count = 0
    this.onSignal()
  }

  isPending(): boolean {
    return this.#count > 0
  }

  drain(): boolean {
    const wasPending = this.#count > 0
    this.#count = 0
    return wasPending
  }

  close(): void {
    this.isClosed = true
  }
}

/** Irqfds and the routing table as KVM has them: what was delivered is in `delivered`. */
export class FakeGateway implements MsiGateway {
  readonly gsiLimit: number
  readonly delivered: MsiMessage[] = []
  readonly eventFds: FakeEventFd[] = []
  readonly attached = new Set<number>()
  table: readonly ({ readonly gsi: number } & MsiMessage)[] = []
  tableWrites = 0
  /** How many event descriptors can still be made. */
  descriptorsLeft = Number.POSITIVE_INFINITY

  constructor(gsiLimit = 64) {
    this.gsiLimit = gsiLimit
  }

  createEventFd(): FakeEventFd {
    if (this.descriptorsLeft === 0) throw new Error('eventfd: no more')
    this.descriptorsLeft -= 1
    const eventFd = new FakeEventFd(100 + this.eventFds.length)
    this.eventFds.push(eventFd)
    return eventFd
  }

  setRoutes(routes: readonly ({ readonly gsi: number } & MsiMessage)[]): void {
    this.tableWrites += 1
    this.table = routes
  }

  attach(gsi: number, eventFd: EventFd): void {
    const fake = this.#own(eventFd)
    if (this.attached.has(gsi)) throw new Error(`KVM_IRQFD: ${gsi} is attached already`)
    this.attached.add(gsi)
    fake.onSignal = () => this.#deliver(gsi)
    // KVM looks at the descriptor but leaves its count until the next signal.
    if (fake.isPending()) this.#deliver(gsi)
  }

  detach(gsi: number, eventFd: EventFd): void {
    const fake = this.#own(eventFd)
    if (!this.attached.delete(gsi)) throw new Error(`KVM_IRQFD: ${gsi} is not attached`)
    fake.onSignal = undefined
    fake.drain()
  }

  signal(message: MsiMessage): void {
    this.delivered.push(message)
  }

  /** What was delivered since the last call. */
  take(): MsiMessage[] {
    return this.delivered.splice(0)
  }

  #deliver(gsi: number): void {
    const route = this.table.find(each => each.gsi === gsi)
    if (route === undefined) throw new Error(`interrupt ${gsi} was lost: it has no route`)
    const { addressLow, addressHigh, data } = route
    this.delivered.push({ addressLow, addressHigh, data })
  }

  #own(eventFd: EventFd): FakeEventFd {
    const fake = this.eventFds.find(each => each === eventFd)
    if (fake === undefined || fake.isClosed) throw new Error('not an open EventFd of this gateway')
    return fake
  }
}
