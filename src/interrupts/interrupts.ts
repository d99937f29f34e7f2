import type { EventFd } from '../memory/event-fd.ts'

/** A pin of an interrupt controller as a device sees it. */
export interface InterruptLine {
  /** One edge. */
  pulse(): void
  /** For level-triggered pins. Idempotent. */
  setLevel(asserted: boolean): void
}

/** One message-signalled interrupt: signalling `eventFd` from any thread delivers it, without an exit, while unmasked. */
export interface MsiRoute {
  readonly gsi: number
  readonly eventFd: EventFd
  /** Where the message goes: as a PCI MSI-X table entry holds it. Takes effect at once if unmasked. */
  setMessage(addressLow: number, addressHigh: number, data: number): void
  /** Signals while masked stay pending and are delivered by unmask. Both are idempotent; routes begin masked. */
  mask(): void
  unmask(): void
  /** Of signals that came while it was masked, or while the machine is paused. */
  isPending(): boolean
  /** Detaches, frees the GSI and closes the event descriptor. Idempotent. */
  close(): void
}

/** Hands out message-signalled interrupts; its limit is the hypervisor's number of GSIs, not a constant of ours. */
export interface MsiRouter {
  /** Throws ERR_RESOURCE_EXHAUSTED. */
  allocate(): MsiRoute
}
