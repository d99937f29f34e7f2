import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import { stateless } from '../state/carried.ts'
import type { Component } from '../state/component.ts'

/** `code` is 0 to 255; `elapsedSeconds` counts from when the port was built. */
export type DebugCodeListener = (code: number, elapsedSeconds: number) => void

/**
 * Port 0x80: firmware and kernels say by a byte how far they have come. The guest does not wait; where it writes many
 * codes in a row, the times of all but the first may be late by up to 2 ms.
 */
export class DebugPort implements Component, RegisterWindow {
  readonly name = '__debug_port'
  readonly state = stateless
  readonly sizeBytes = 1
  readonly bytes = new Uint8Array(1)
  readonly spans: readonly Span[] = [{ offset: 0, lengthBytes: 1, read: 'bytes', write: 'post' }]
  readonly #onCode: DebugCodeListener
  readonly #nowMs: () => number
  readonly #startMs: number

  constructor(onCode: DebugCodeListener, nowMs = () => performance.now()) {
    this.#onCode = onCode
    this.#nowMs = nowMs
    this.#startMs = nowMs()
  }

  read(_offset: number, _width: AccessWidth): number {
    return 0
  }

  write(_offset: number, _width: AccessWidth, value: number): void {
    this.#onCode(value & 0xff, (this.#nowMs() - this.#startMs) / 1000)
  }

  async pause(): Promise<void> {}
  resume(): void {}
  reset(): void {}
  async close(): Promise<void> {}
}
