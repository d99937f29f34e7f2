import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import { stateless } from '../state/carried.ts'
import type { Component } from '../state/component.ts'

const commandOffset = 3
const pulseResetLine = 0xfe
/** Port 0x61: the output of timer 2, for those who wait for it. */
const timer2Output = 0x20

/** Ports 0x61 to 0x64: of the keyboard controller only its command that resets the machine. */
export class ResetPort implements Component, RegisterWindow {
  readonly name = '__reset_port'
  readonly state = stateless
  readonly sizeBytes = 4
  readonly bytes = Uint8Array.of(timer2Output, 0, 0, 0)
  readonly spans: readonly Span[] = [
    { offset: 0, lengthBytes: commandOffset, read: 'bytes', write: 'ignore' },
    { offset: commandOffset, lengthBytes: 1, read: 'bytes', write: 'trap' },
  ]
  readonly #onReset: () => void

  constructor(onReset: () => void) {
    this.#onReset = onReset
  }

  read(offset: number, _width: AccessWidth): number {
    return this.bytes[offset] ?? 0
  }

  write(_offset: number, _width: AccessWidth, value: number): void {
    if (value === pulseResetLine) this.#onReset()
  }

  async pause(): Promise<void> {}
  resume(): void {}
  reset(): void {}
  async close(): Promise<void> {}
}
