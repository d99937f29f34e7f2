import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import type { Component } from '../state/component.ts'

/** ACPI 6.5 §4.8.2.1. */
const hertz = 3_579_545
const bits = 32
const counterBytes = 4

/** The power management timer: a counter that the vCPU threads compute themselves and that nothing but time changes. */
export class AcpiPmTimer implements Component, RegisterWindow {
  readonly name = '__acpi_pm_timer'
  readonly sizeBytes = counterBytes
  readonly bytes = new Uint8Array(counterBytes)
  readonly spans: readonly Span[] = [
    { offset: 0, lengthBytes: counterBytes, read: 'clock', write: 'ignore', clock: { hertz, bits } },
  ]

  /** Never called: no access traps. */
  read(_offset: number, _width: AccessWidth): number {
    return 0
  }

  write(_offset: number, _width: AccessWidth, _value: number): void {}

  async pause(): Promise<void> {}
  resume(): void {}
  reset(): void {}
  async close(): Promise<void> {}
}
