import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import type { Component } from '../state/component.ts'

/** What the FADT names as the reset value. */
export const acpiResetValue = 1
const sleepEnable = 0x20
const sleepTypeShift = 2
const softOff = 5

/** Sleep control, sleep status and reset register of a hardware-reduced platform in one byte (ACPI 6.5 §4.8.3.7). */
export class AcpiPower implements Component, RegisterWindow {
  readonly name = '__acpi_power'
  readonly sizeBytes = 8
  readonly bytes = new Uint8Array(8)
  readonly spans: readonly Span[] = [{ offset: 0, lengthBytes: 8, read: 'bytes', write: 'trap' }]
  readonly #events: { powerOff(): void; reset(): void }

  constructor(events: { powerOff(): void; reset(): void }) {
    this.#events = events
  }

  read(offset: number, _width: AccessWidth): number {
    return this.bytes[offset] ?? 0
  }

  write(offset: number, _width: AccessWidth, value: number): void {
    if (offset !== 0) return
    if (value === acpiResetValue) this.#events.reset()
    const sleepType = (value >> sleepTypeShift) & 0x7
    if ((value & sleepEnable) !== 0 && sleepType === softOff) this.#events.powerOff()
  }

  async pause(): Promise<void> {}
  resume(): void {}
  reset(): void {}
  async close(): Promise<void> {}
}
