import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import type { Component } from '../state/component.ts'

/** ACPI 6.5 §4.8.2.1: 3.579545 MHz. */
const hertz = 3_579_545

/** The power management timer, answered by the vCPU threads themselves. */
export class AcpiPmTimer implements Component, RegisterWindow {
  readonly name = '__acpi_pm_timer'
  readonly sizeBytes = 4
  readonly bytes = new Uint8Array(4)
  readonly spans: readonly Span[] = [
    { offset: 0, lengthBytes: 4, read: 'clock', write: 'ignore', clock: { hertz, bits: 32 } },
  ]

  read(_offset: number, _width: AccessWidth): number {
    return 0
  }

  write(_offset: number, _width: AccessWidth, _value: number): void {}

  async pause(): Promise<void> {}
  resume(): void {}
  reset(): void {}
  async close(): Promise<void> {}
}
