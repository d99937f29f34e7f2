import type { EventFd } from '../memory/event-fd.ts'
import { virtioBar } from './pci-layout.ts'

/** Lets the kernel signal an event descriptor where the guest writes to an address. */
export interface Doorbells {
  attach(eventFd: EventFd, address: number): void
  detach(eventFd: EventFd, address: number): void
}

/** A doorbell a queue (virtio 1.2 §4.1.4.4), rung in the kernel wherever the BAR is. */
export class QueueDoorbells {
  readonly eventFds: readonly EventFd[]
  readonly #doorbells: Doorbells
  #barAddress: number | undefined

  constructor(eventFds: readonly EventFd[], doorbells: Doorbells) {
    this.eventFds = eventFds
    this.#doorbells = doorbells
  }

  /** A write that did not go through the kernel; `offset` counts from the first doorbell. */
  ring(offset: number): void {
    this.eventFds[offset / virtioBar.notifyMultiplier]?.signal()
  }

  /** The BAR is at another address, or nowhere. */
  move(barAddress: number | undefined): void {
    const place = (base: number, index: number) => base + virtioBar.notify + index * virtioBar.notifyMultiplier
    const old = this.#barAddress
    this.eventFds.forEach((eventFd, index) => {
      if (old !== undefined) this.#doorbells.detach(eventFd, place(old, index))
      if (barAddress !== undefined) this.#doorbells.attach(eventFd, place(barAddress, index))
    })
    this.#barAddress = barAddress
  }

  /** Forgets what nobody has heard. */
  drain(): void {
    for (const eventFd of this.eventFds) eventFd.drain()
  }

  close(): void {
    this.move(undefined)
    for (const eventFd of this.eventFds) eventFd.close()
  }
}
