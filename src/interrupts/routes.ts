import type { EventFd } from '../memory/event-fd.ts'
import { stateless } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
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
  /** From now on every signal is an interrupt; a signal that nobody has consumed yet is one at once. */
  attach(gsi: number, eventFd: EventFd): void
  /** On return no interrupt is under way, and later signals stay in the descriptor. */
  detach(gsi: number, eventFd: EventFd): void
  signal(message: MsiMessage): void
}

/**
 * The table of global interrupt numbers: the pins of the userspace IOAPIC first, message-signalled interrupts behind
 * them. Masking a route detaches its event descriptor, which then counts signals; attaching it again delivers them. The
 * hypervisor's table is written only where a route that is attached or about to be differs from what it knows.
 *
 * While the machine is paused all of them are detached: what was under way has reached its vCPU, which can be saved then, and
 * what comes meanwhile waits. The messages belong to the devices that set them.
 */
export class InterruptRoutes implements Component, MsiRouter {
  readonly name = '__interrupt_routes'
  readonly state = stateless
  readonly #gateway: MsiGateway
  readonly #firstGsi: number
  readonly #routes = new Map<number, Route>()
  readonly #wanted = new Map<number, MsiMessage>()
  #isPaused = false
  /** What the hypervisor's table holds. */
  #known: ReadonlyMap<number, MsiMessage> = new Map()

  constructor(gateway: MsiGateway, reservedPins: number) {
    this.#gateway = gateway
    this.#firstGsi = reservedPins
  }

  allocate(): MsiRoute {
    for (let gsi = this.#firstGsi; gsi < this.#gateway.gsiLimit; gsi += 1) {
      if (!this.#routes.has(gsi)) return this.open(gsi)
    }
    throw new TsvmmError('ERR_RESOURCE_EXHAUSTED', {
      what: 'interrupt routes',
      reason: `the hypervisor has ${this.#gateway.gsiLimit}`,
    })
  }

  /** The route of a number known beforehand: a pin. Throws ERR_RESOURCE_EXHAUSTED where it is taken. */
  open(gsi: number): MsiRoute {
    if (this.#routes.has(gsi)) {
      throw new TsvmmError('ERR_RESOURCE_EXHAUSTED', { what: 'pins', reason: `${gsi} is in use` })
    }
    const eventFd = this.#gateway.createEventFd()
    const route = new Route(gsi, eventFd, this.#gateway, {
      isPaused: () => this.#isPaused,
      want: message => this.#wanted.set(gsi, toHypervisor(message)),
      write: () => this.#write(gsi),
      release: () => {
        this.#routes.delete(gsi)
        this.#wanted.delete(gsi)
      },
    })
    this.#routes.set(gsi, route)
    return route
  }

  async pause(): Promise<void> {
    this.#setPaused(true)
  }

  resume(): void {
    this.#setPaused(false)
  }

  reset(): void {}
  async close(): Promise<void> {}

  #setPaused(isPaused: boolean): void {
    this.#isPaused = isPaused
    for (const route of this.#routes.values()) route.settle()
  }

  /** Returns with the hypervisor knowing what this route wants. */
  #write(gsi: number): void {
    if (isSame(this.#known.get(gsi), this.#wanted.get(gsi))) return
    const table = new Map(this.#wanted)
    this.#gateway.setRoutes([...table].map(([number, message]) => ({ gsi: number, ...message })))
    this.#known = table
  }
}

/** A route's own line of the table. */
interface TableEntry {
  isPaused(): boolean
  want(message: MsiMessage): void
  write(): void
  release(): void
}

class Route implements MsiRoute {
  readonly gsi: number
  readonly eventFd: EventFd
  readonly #gateway: MsiGateway
  readonly #entry: TableEntry
  #hasMessage = false
  #isMasked = true
  #isAttached = false
  #isClosed = false

  constructor(gsi: number, eventFd: EventFd, gateway: MsiGateway, entry: TableEntry) {
    this.gsi = gsi
    this.eventFd = eventFd
    this.#gateway = gateway
    this.#entry = entry
  }

  setMessage(addressLow: number, addressHigh: number, data: number): void {
    if (this.#isClosed) return
    this.#entry.want({ addressLow, addressHigh, data })
    this.#hasMessage = true
    this.settle()
  }

  mask(): void {
    this.#isMasked = true
    this.settle()
  }

  unmask(): void {
    this.#isMasked = false
    this.settle()
  }

  isPending(): boolean {
    return !this.#isAttached && !this.#isClosed && this.eventFd.isPending()
  }

  close(): void {
    if (this.#isClosed) return
    this.mask()
    this.#isClosed = true
    this.#entry.release()
    this.eventFd.close()
  }

  /** Attached where it should be and not where it should not. */
  settle(): void {
    const isOn = !this.#isMasked && this.#hasMessage && !this.#isClosed && !this.#entry.isPaused()
    // The table comes first: what is pending goes out at once where the descriptor is attached.
    if (isOn) this.#entry.write()
    if (isOn === this.#isAttached) return
    if (isOn) this.#gateway.attach(this.gsi, this.eventFd)
    else this.#gateway.detach(this.gsi, this.eventFd)
    this.#isAttached = isOn
  }
}

/** Bit 4 of the address: the destination is an entry of an interrupt remapping table. */
const remappable = 0x10
/** Bits 11 to 5: bits 14 to 8 of the destination, for guests that were told of them. */
const extendedDestination = 0xfe0

/**
 * The message as KVM's routing table holds it (KVM_CAP_X2APIC_API): destinations beyond 8 bits are in the upper half of
 * the address, whose lowest byte KVM refuses where it is not zero.
 */
function toHypervisor({ addressLow, addressHigh, data }: MsiMessage): MsiMessage {
  const upper = (addressHigh & 0xffff_ff00) >>> 0
  if ((addressLow & remappable) !== 0) return { addressLow, addressHigh: upper, data }
  return {
    addressLow: (addressLow & ~extendedDestination) >>> 0,
    addressHigh: (upper | ((addressLow & extendedDestination) << 3)) >>> 0,
    data,
  }
}

function isSame(one: MsiMessage | undefined, other: MsiMessage | undefined): boolean {
  return one?.addressLow === other?.addressLow && one?.addressHigh === other?.addressHigh && one?.data === other?.data
}
