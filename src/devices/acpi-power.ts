import { softOffType } from '../acpi/dsdt.ts'
import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import { stateless } from '../state/carried.ts'
import type { Component } from '../state/component.ts'

/** What the FADT names as the reset value. */
export const acpiResetValue = 1
const registerOffset = 0
const sleepEnable = 1 << 5
const sleepTypeShift = 2
const sleepTypeMask = 0x7

/**
 * Sleep control, sleep status and reset register of a hardware-reduced platform (ACPI 6.5 §4.8.3.6, §4.8.3.7) in one
 * byte, Cloud Hypervisor's. It has nothing to remember: it reads as zero, as there is no state to wake from.
 */
export class AcpiPower implements Component, RegisterWindow {
  readonly name = '__acpi_power'
  readonly state = stateless
  readonly sizeBytes = 8
  readonly bytes = new Uint8Array(8)
  readonly spans: readonly Span[] = [
    { offset: registerOffset, lengthBytes: 1, read: 'bytes', write: 'trap' },
    { offset: 1, lengthBytes: 7, read: 'bytes', write: 'ignore' },
  ]
  readonly #events: { powerOff(): void; reset(): void }

  constructor(events: { powerOff(): void; reset(): void }) {
    this.#events = events
  }

  read(_offset: number, _width: AccessWidth): number {
    return 0
  }

  /** Soft off is the one sleep state that the DSDT offers; others are ignored. */
  write(offset: number, _width: AccessWidth, value: number): void {
    if (offset !== registerOffset) return
    if (value === acpiResetValue) this.#events.reset()
    const sleepType = (value >> sleepTypeShift) & sleepTypeMask
    if ((value & sleepEnable) !== 0 && sleepType === softOffType) this.#events.powerOff()
  }

  async pause(): Promise<void> {}
  resume(): void {}
  reset(): void {}
  async close(): Promise<void> {}
}
