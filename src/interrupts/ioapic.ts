import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import type { EventFd } from '../memory/event-fd.ts'
import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { TsvmmError } from '../util/errors.ts'
import type { InterruptLine, MsiRoute } from './interrupts.ts'
import { ioapicState, type SavedIoapic } from './ioapic-state.ts'

const registerSelect = 0x00
const dataWindow = 0x10
/** Behind the registers that the guest sees. */
const registerTable = 0x20
const register = { id: 0x00, version: 0x01, arbitration: 0x02, redirection: 0x10 } as const
const version = 0x11
const idMask = 0x0f00_0000

/** Bits of a redirection entry's lower half. */
const entry = { vector: 0xff, deliveryMode: 0x700, remoteIrr: 1 << 14, level: 1 << 15, masked: 1 << 16 } as const
/** Delivery status and remote IRR belong to the controller. */
const writableLow = 0x1_afff
/** The destination, and below it the extended destination that later controllers have. */
const writableHigh = 0xffff_0000
/** Delivery modes 0 and 1: only fixed and lowest-priority interrupts are ended by the guest. */
const lastEndedMode = 0x100

interface Redirection {
  low: number
  high: number
}

interface IoapicState {
  /** As the register has it, in bits 27 to 24. */
  id: number
  select: number
  redirections: Redirection[]
  /** By pin: what the device says. It stays what it is when the controller is reset. */
  asserted: boolean[]
}

/** A pin: `eventFd` is one edge a signal, from any thread. */
export interface IoapicPin extends InterruptLine {
  readonly eventFd: EventFd
}

/**
 * The 82093AA I/O APIC in user space, for KVM's split irqchip. Every pin has a route of its own in the hypervisor, set to
 * the message that its redirection entry describes, so that a pin's interrupt needs no exit either. KVM finds in the
 * same routes which vectors are level-triggered pins, and reports their end.
 *
 * An edge on a masked pin stays in the pin's event descriptor and is delivered once when the pin is unmasked: the
 * 82093AA drops it, and drivers that cope with that cope with one interrupt too many.
 */
export class Ioapic implements Component, RegisterWindow {
  readonly name = '__ioapic'
  readonly state = saved({
    schema: ioapicState,
    save: () => {
      const { id, select, redirections, asserted } = this.#state
      const isPending = (pin: number) => this.#routes[pin]?.isPending() === true
      const pins = redirections.map(({ low, high }, pin) => ({
        ...{ low: low >>> 0, high, isAsserted: asserted[pin] === true, isPending: isPending(pin) },
      }))
      return { id, select, pins }
    },
    load: state => this.#load(state),
  })
  readonly sizeBytes: number
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly spans: readonly Span[]
  /** What the data window answers, by register: Linux reads and writes it hundreds of times before it changes anything. */
  readonly #registers: Uint32Array<ArrayBuffer>
  readonly #routes: readonly MsiRoute[]
  #state: IoapicState

  /** One route a pin, in order. The controller closes them. */
  constructor(routes: readonly MsiRoute[]) {
    this.#routes = routes
    this.#state = powerOnState(routes.map(() => false))
    const entries = register.redirection + 2 * routes.length
    this.sizeBytes = registerTable + 4 * entries
    this.bytes = new Uint8Array(this.sizeBytes)
    this.#registers = new Uint32Array(this.bytes.buffer, registerTable, entries)
    const mask = new Uint32Array(entries)
    mask[register.id] = idMask
    for (let pin = register.redirection; pin < entries; pin += 2) mask.set([writableLow, writableHigh], pin)
    const indexed = { tableOffset: registerTable, entries }
    this.spans = [
      { offset: registerSelect, lengthBytes: 4, read: 'bytes', write: 'bytes', mask: Uint8Array.of(0xff, 0, 0, 0) },
      {
        offset: dataWindow,
        lengthBytes: 4,
        read: 'indexed',
        write: 'change',
        indexed,
        mask: new Uint8Array(mask.buffer),
      },
    ]
    this.#show()
  }

  /** Throws RangeError. */
  line(pin: number): IoapicPin {
    const route = this.#routes[pin]
    if (route === undefined) throw new RangeError(`no pin ${pin}`)
    return {
      eventFd: route.eventFd,
      pulse: () => route.eventFd.signal(),
      setLevel: isAsserted => this.#setLevel(pin, isAsserted),
    }
  }

  /** All reads are answered from the table. */
  read(): number {
    return 0
  }

  /** A write of the data window that changes a register. */
  write(_offset: number, width: AccessWidth, value: number): void {
    if (width !== 4) return
    const index = this.bytes[registerSelect] ?? 0
    if (index === register.id) {
      this.#state.id = value & idMask
      this.#show()
    }
    const pin = (index - register.redirection) >> 1
    const redirection = this.#state.redirections[pin]
    if (index < register.redirection || redirection === undefined) return
    if ((index & 1) === 0) this.#writeLow(pin, redirection, value)
    else redirection.high = (value & writableHigh) >>> 0
    this.#showRedirection(pin, redirection)
    this.#program(pin, redirection)
    this.#deliverLevel(pin, redirection)
  }

  /** The guest has ended the interrupt of this vector: level-triggered pins that are still asserted fire again. */
  endOfInterrupt(vector: number): void {
    this.#state.redirections.forEach((redirection, pin) => {
      if ((redirection.low & entry.vector) !== vector || (redirection.low & entry.remoteIrr) === 0) return
      redirection.low &= ~entry.remoteIrr
      this.#showRedirection(pin, redirection)
      this.#deliverLevel(pin, redirection)
    })
  }

  async pause(): Promise<void> {
    this.#state.select = this.bytes[registerSelect] ?? 0
  }

  resume(): void {}

  #load({ id, select, pins }: SavedIoapic): void {
    if (pins.length !== this.#routes.length) {
      const reason = `it was saved with ${pins.length} pins and has ${this.#routes.length}`
      throw new TsvmmError('ERR_STATE_INVALID', { component: this.name, reason })
    }
    const asserted = pins.map(pin => pin.isAsserted)
    this.#state = { id, select, redirections: pins.map(({ low, high }) => ({ low, high })), asserted }
    this.bytes[registerSelect] = select
    this.#show()
    pins.forEach(({ low, high, isPending }, pin) => {
      this.#program(pin, { low, high })
      this.#routes[pin]?.eventFd.drain()
      if (isPending) this.#routes[pin]?.eventFd.signal()
    })
  }

  reset(): void {
    for (const route of this.#routes) {
      route.mask()
      route.eventFd.drain()
    }
    this.#state = powerOnState(this.#state.asserted)
    this.bytes[registerSelect] = 0
    this.#show()
  }

  async close(): Promise<void> {
    for (const route of this.#routes) route.close()
  }

  #setLevel(pin: number, isAsserted: boolean): void {
    const redirection = this.#state.redirections[pin]
    if (redirection === undefined || this.#state.asserted[pin] === isAsserted) return
    this.#state.asserted[pin] = isAsserted
    if ((redirection.low & entry.level) !== 0) this.#deliverLevel(pin, redirection)
    else if (isAsserted) this.#routes[pin]?.eventFd.signal()
  }

  #show(): void {
    this.#registers[register.id] = this.#state.id
    this.#registers[register.version] = version | ((this.#routes.length - 1) << 16)
    // Nothing arbitrates: the register has what a write of the id puts there.
    this.#registers[register.arbitration] = this.#state.id
    this.#state.redirections.forEach((redirection, pin) => {
      this.#showRedirection(pin, redirection)
    })
  }

  #showRedirection(pin: number, { low, high }: Redirection): void {
    this.#registers[register.redirection + 2 * pin] = low
    this.#registers[register.redirection + 2 * pin + 1] = high
  }

  #writeLow(pin: number, redirection: Redirection, value: number): void {
    const wasLevel = (redirection.low & entry.level) !== 0
    redirection.low = (redirection.low & ~writableLow) | (value & writableLow)
    const isLevel = (redirection.low & entry.level) !== 0
    // Remote IRR means nothing for edges (82093AA §3.2.4): guests turn to edge and back to get rid of it.
    if (!isLevel) redirection.low &= ~entry.remoteIrr
    if (wasLevel || !isLevel) return
    // Edges that came before mean nothing now.
    this.#routes[pin]?.mask()
    this.#routes[pin]?.eventFd.drain()
  }

  #deliverLevel(pin: number, redirection: Redirection): void {
    const blocked = entry.masked | entry.remoteIrr
    if (this.#state.asserted[pin] !== true) return
    if ((redirection.low & entry.level) === 0 || (redirection.low & blocked) !== 0) return
    if ((redirection.low & entry.deliveryMode) <= lastEndedMode) {
      redirection.low |= entry.remoteIrr
      this.#showRedirection(pin, redirection)
    }
    this.#routes[pin]?.eventFd.signal()
  }

  /** The pin's route does what its redirection entry says. */
  #program(pin: number, { low, high }: Redirection): void {
    const route = this.#routes[pin]
    if ((low & entry.masked) !== 0) {
      route?.mask()
      return
    }
    const { addressLow, data } = messageOf(low, high)
    route?.setMessage(addressLow, 0, data)
    route?.unmask()
  }
}

/** A redirection entry as the message that it causes (Intel SDM Vol. 3A §11.11, extended destination in bits 11 to 4). */
export function messageOf(low: number, high: number): { addressLow: number; data: number } {
  const destination = (high >>> 24) & 0xff
  const extendedDestination = (high >>> 16) & 0xff
  const destinationMode = (low >> 11) & 1
  const trigger = (low >> 15) & 1
  return {
    addressLow: (0xfee0_0000 | (destination << 12) | (extendedDestination << 4) | (destinationMode << 2)) >>> 0,
    // Asserted and level, or neither.
    data: (low & (entry.vector | entry.deliveryMode)) | (trigger << 14) | (trigger << 15),
  }
}

function powerOnState(asserted: boolean[]): IoapicState {
  return { id: 0, select: 0, redirections: asserted.map(() => ({ low: entry.masked, high: 0 })), asserted }
}
