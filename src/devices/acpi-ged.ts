import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import type { InterruptLine } from '../interrupts/interrupts.ts'
import type { Component } from '../state/component.ts'

/** Generic Event Device (ACPI 6.5 §5.6.9): tells the guest by an interrupt and one bit an event; reading clears. */
export class AcpiGed implements Component, RegisterWindow {
  readonly name = '__acpi_ged'
  readonly sizeBytes = 1
  readonly bytes = new Uint8Array(1)
  readonly spans: readonly Span[] = [{ offset: 0, lengthBytes: 1, read: 'trap', write: 'ignore' }]
  readonly #interrupt: InterruptLine
  #state = { pendingEvents: 0 }

  constructor(interrupt: InterruptLine) {
    this.#interrupt = interrupt
  }

  /** `event` is a bit of `gedEvents`. */
  notify(event: number): void {
    this.#state.pendingEvents |= event
    this.#interrupt.pulse()
  }

  read(_offset: number, _width: AccessWidth): number {
    const events = this.#state.pendingEvents
    this.#state.pendingEvents = 0
    return events
  }

  write(_offset: number, _width: AccessWidth, _value: number): void {}

  async pause(): Promise<void> {}
  resume(): void {}

  reset(): void {
    this.#state = { pendingEvents: 0 }
  }

  async close(): Promise<void> {}
}
