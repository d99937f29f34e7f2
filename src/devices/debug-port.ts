import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import type { Component } from '../state/component.ts'

/** Port 0x80: firmware and kernels say by a byte how far they have come. */
export class DebugPort implements Component, RegisterWindow {
  readonly name = '__debug_port'
  readonly sizeBytes = 1
  readonly bytes = new Uint8Array(1)
  readonly spans: readonly Span[] = [{ offset: 0, lengthBytes: 1, read: 'bytes', write: 'post' }]
  readonly #onCode: (code: number) => void

  constructor(onCode: (code: number) => void) {
    this.#onCode = onCode
  }

  read(_offset: number, _width: AccessWidth): number {
    return 0
  }

  write(_offset: number, _width: AccessWidth, value: number): void {
    this.#onCode(value)
  }

  async pause(): Promise<void> {}
  resume(): void {}
  reset(): void {}
  async close(): Promise<void> {}
}
