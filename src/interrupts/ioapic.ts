import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import type { Component } from '../state/component.ts'
import type { InterruptLine, MsiRoute } from './interrupts.ts'

const registerSelect = 0x00
const dataWindow = 0x10
const register = { id: 0x00, version: 0x01, arbitration: 0x02, redirection: 0x10 } as const
const version = 0x11

const entry = { remoteIrr: 1 << 14, level: 1 << 15, masked: 1 << 16 } as const
/** Delivery status and remote IRR belong to the controller. */
const writableLow = 0x1afff

interface Redirection {
  low: number
  high: number
  /** For level-triggered pins: what the device says. */
  isAsserted: boolean
}

interface IoapicState {
  id: number
  select: number
  redirections: Redirection[]
}

/**
 * The 82093AA I/O APIC in user space, for KVM's split irqchip. Every pin has a route of its own in the hypervisor, set to
 * the message that its redirection entry describes, so that a pin's interrupt needs no exit either.
 */
export class Ioapic implements Component, RegisterWindow {
  readonly name = '__ioapic'
  readonly sizeBytes = 0x20
  readonly bytes = new Uint8Array(0x20)
  readonly spans: readonly Span[] = [
    { offset: registerSelect, lengthBytes: 4, read: 'bytes', write: 'bytes', mask: Uint8Array.of(0xff, 0, 0, 0) },
    { offset: dataWindow, lengthBytes: 4, read: 'trap', write: 'trap' },
  ]
  readonly #routes: readonly MsiRoute[]
  #state: IoapicState

  /** One route a pin, in order. The controller closes them. */
  constructor(routes: readonly MsiRoute[]) {
    this.#routes = routes
    this.#state = powerOnState(routes.length)
  }

  line(pin: number): InterruptLine {
    const route = this.#routes[pin]
    if (route === undefined) throw new RangeError(`no pin ${pin}`)
    return {
      // While the pin is masked the descriptor remembers the edge.
      pulse: () => route.eventFd.signal(),
      setLevel: isAsserted => this.#setLevel(pin, isAsserted),
    }
  }

  read(_offset: number, width: AccessWidth): number {
    if (width !== 4) return 0
    const index = this.bytes[registerSelect] ?? 0
    if (index === register.id || index === register.arbitration) return this.#state.id << 24
    if (index === register.version) return version | ((this.#routes.length - 1) << 16)
    const found = this.#state.redirections[(index - register.redirection) >> 1]
    if (index < register.redirection || found === undefined) return 0
    return (index & 1) === 0 ? found.low : found.high
  }

  write(_offset: number, width: AccessWidth, value: number): void {
    if (width !== 4) return
    const index = this.bytes[registerSelect] ?? 0
    if (index === register.id) this.#state.id = (value >>> 24) & 0xf
    const pin = (index - register.redirection) >> 1
    const redirection = this.#state.redirections[pin]
    if (index < register.redirection || redirection === undefined) return
    if ((index & 1) === 0) {
      redirection.low = (redirection.low & ~writableLow) | (value & writableLow)
      // Remote IRR means nothing for edges (82093AA §3.2.4).
      if ((redirection.low & entry.level) === 0) redirection.low &= ~entry.remoteIrr
    } else {
      redirection.high = value >>> 0
    }
    this.#apply(pin, redirection)
  }

  /** The guest has ended the interrupt of this vector: level-triggered pins that are still asserted fire again. */
  endOfInterrupt(vector: number): void {
    this.#state.redirections.forEach((redirection, pin) => {
      if ((redirection.low & 0xff) !== vector || (redirection.low & entry.remoteIrr) === 0) return
      redirection.low &= ~entry.remoteIrr
      this.#deliverLevel(pin, redirection)
    })
  }

  async pause(): Promise<void> {
    this.#state.select = this.bytes[registerSelect] ?? 0
  }

  resume(): void {}

  reset(): void {
    for (const route of this.#routes) {
      route.mask()
      route.eventFd.drain()
    }
    this.#state = powerOnState(this.#routes.length)
    this.bytes.fill(0)
  }

  async close(): Promise<void> {
    for (const route of this.#routes) route.close()
  }

  #setLevel(pin: number, isAsserted: boolean): void {
    const redirection = this.#state.redirections[pin]
    if (redirection === undefined || redirection.isAsserted === isAsserted) return
    redirection.isAsserted = isAsserted
    if ((redirection.low & entry.level) !== 0) this.#deliverLevel(pin, redirection)
    else if (isAsserted) this.#routes[pin]?.eventFd.signal()
  }

  #deliverLevel(pin: number, redirection: Redirection): void {
    const blocked = entry.masked | entry.remoteIrr
    if (!redirection.isAsserted || (redirection.low & entry.level) === 0 || (redirection.low & blocked) !== 0) return
    redirection.low |= entry.remoteIrr
    this.#routes[pin]?.eventFd.signal()
  }

  #apply(pin: number, redirection: Redirection): void {
    const route = this.#routes[pin]
    if (route === undefined) return
    if ((redirection.low & entry.masked) !== 0) {
      route.mask()
      return
    }
    const { addressLow, data } = messageOf(redirection.low, redirection.high)
    route.setMessage(addressLow, 0, data)
    route.unmask()
    this.#deliverLevel(pin, redirection)
  }
}

/** A redirection entry as the message that it causes (Intel SDM Vol. 3A §11.11.1). */
export function messageOf(low: number, high: number): { addressLow: number; data: number } {
  const destination = (high >>> 24) & 0xff
  const destinationMode = (low >> 11) & 1
  const deliveryMode = (low >> 8) & 0x7
  const trigger = (low >> 15) & 1
  return {
    addressLow: (0xfee0_0000 | (destination << 12) | (destinationMode << 2)) >>> 0,
    data: (low & 0xff) | (deliveryMode << 8) | (trigger << 14) | (trigger << 15),
  }
}

function powerOnState(pins: number): IoapicState {
  return {
    id: 0,
    select: 0,
    redirections: Array.from({ length: pins }, () => ({ low: entry.masked, high: 0, isAsserted: false })),
  }
}
