import { type GedEvent, gedEvents } from '../acpi/contribution.ts'
import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import type { InterruptLine } from '../interrupts/interrupts.ts'
import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { acpiGedState } from './acpi-ged-state.ts'

interface GedState {
  /** Bits of `gedEvents` that the guest has not read yet. */
  pendingEvents: number
}

const powerOnState = (): GedState => ({ pendingEvents: 0 })

/**
 * The notification register of the Generic Event Device (ACPI 6.5 §5.6.9): an interrupt says that something has happened,
 * the register says what, one bit an event, and reading clears it. Of one byte; wider reads see zeros above it.
 */
export class AcpiGed implements Component, RegisterWindow {
  readonly name = '__acpi_ged'
  readonly state = saved({
    schema: acpiGedState,
    save: () => ({ pendingEvents: this.#state.pendingEvents }),
    load: ({ pendingEvents }) => {
      this.#state = { pendingEvents }
    },
  })
  readonly sizeBytes = 1
  readonly bytes = new Uint8Array(1)
  readonly spans: readonly Span[] = [{ offset: 0, lengthBytes: 1, read: 'trap', write: 'ignore' }]
  readonly #interrupt: InterruptLine
  #state = powerOnState()

  constructor(interrupt: InterruptLine) {
    this.#interrupt = interrupt
  }

  /** Tells the guest of an event; events of one kind that it has not read yet become one. */
  notify(event: GedEvent): void {
    this.#state.pendingEvents |= gedEvents[event]
    this.#interrupt.pulse()
  }

  read(_offset: number, _width: AccessWidth): number {
    const { pendingEvents } = this.#state
    this.#state.pendingEvents = 0
    return pendingEvents
  }

  write(_offset: number, _width: AccessWidth, _value: number): void {}

  async pause(): Promise<void> {}

  /** What is still unread is told again: the edge may have gone to an interrupt controller that is no more. */
  resume(): void {
    if (this.#state.pendingEvents !== 0) this.#interrupt.pulse()
  }

  reset(): void {
    this.#state = powerOnState()
  }

  async close(): Promise<void> {}
}
