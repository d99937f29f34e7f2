import type { Chardev } from '../backends/chardev.ts'
import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import { stateless } from '../state/carried.ts'
import type { Component } from '../state/component.ts'

/** What Bochs and QEMU answer with: firmware looks for it before it writes. */
const presence = 0xe9

/** Bochs's debug console: a port that takes bytes of text. The guest does not wait. */
export class DebugConsole implements Component, RegisterWindow {
  readonly name = '__debug_console'
  readonly state = stateless
  readonly sizeBytes = 1
  readonly bytes = Uint8Array.of(presence)
  readonly spans: readonly Span[] = [{ offset: 0, lengthBytes: 1, read: 'bytes', write: 'post' }]
  readonly #chardev: Chardev

  constructor(chardev: Chardev) {
    this.#chardev = chardev
  }

  read(_offset: number, _width: AccessWidth): number {
    return presence
  }

  write(_offset: number, _width: AccessWidth, value: number): void {
    this.#chardev.write(Uint8Array.of(value))
  }

  async pause(): Promise<void> {}
  resume(): void {}
  reset(): void {}

  close(): Promise<void> {
    return this.#chardev.close()
  }
}
