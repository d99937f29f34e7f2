import type { MappedWindow } from '../bus/bus.ts'
import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { acpiPmTimerState } from './acpi-pm-timer-state.ts'

/** ACPI 6.5 §4.8.2.1. */
const hertz = 3_579_545
const bits = 32
const counterBytes = 4

/**
 * The power management timer: a counter that the vCPU threads compute themselves and that nothing but time changes. It
 * stands still while the machine is paused.
 */
export class AcpiPmTimer implements Component, RegisterWindow {
  readonly name = '__acpi_pm_timer'
  readonly state = saved({
    schema: acpiPmTimerState,
    save: () => ({ ticks: Number(BigInt.asUintN(bits, this.#pausedAt ?? 0n)) }),
    load: ({ ticks }) => {
      this.#pausedAt = BigInt(ticks)
    },
  })
  readonly sizeBytes = counterBytes
  readonly bytes = new Uint8Array(counterBytes)
  readonly spans: readonly Span[] = [
    { offset: 0, lengthBytes: counterBytes, read: 'clock', write: 'ignore', clock: { hertz, bits } },
  ]
  #mapped: Pick<MappedWindow, 'clockTicks' | 'setClockTicks'> | undefined
  #pausedAt: bigint | undefined

  /** Where the counter is kept. */
  mappedAt(window: Pick<MappedWindow, 'clockTicks' | 'setClockTicks'>): void {
    this.#mapped = window
  }

  /** Never called: no access traps. */
  read(_offset: number, _width: AccessWidth): number {
    return 0
  }

  write(_offset: number, _width: AccessWidth, _value: number): void {}

  async pause(): Promise<void> {
    this.#pausedAt ??= this.#mapped?.clockTicks()
  }

  resume(): void {
    if (this.#pausedAt !== undefined) this.#mapped?.setClockTicks(this.#pausedAt)
    this.#pausedAt = undefined
  }

  reset(): void {}
  async close(): Promise<void> {}
}
