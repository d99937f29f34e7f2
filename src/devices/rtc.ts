import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import type { Component } from '../state/component.ts'

const indexMask = 0x7f
const cmosBytes = 128
const register = {
  seconds: 0,
  minutes: 2,
  hours: 4,
  weekday: 6,
  day: 7,
  month: 8,
  year: 9,
  a: 10,
  b: 11,
  c: 12,
  d: 13,
  century: 0x32,
}
const hours24 = 0x02
const ramIsValid = 0x80
const mebibyte = 1024 * 1024

interface RtcState {
  index: number
  cmos: number[]
}

/** MC146818 clock and CMOS RAM at ports 0x70 and 0x71: the host's time in UTC, and the memory size for firmware. */
export class Rtc implements Component, RegisterWindow {
  readonly name = '__rtc_cmos'
  readonly sizeBytes = 2
  readonly bytes = new Uint8Array(2)
  readonly spans: readonly Span[] = [
    { offset: 0, lengthBytes: 1, read: 'bytes', write: 'bytes', mask: Uint8Array.of(indexMask) },
    { offset: 1, lengthBytes: 1, read: 'trap', write: 'trap' },
  ]
  readonly #memory: { readonly below4GibBytes: number; readonly above4GibBytes: number }
  readonly #now: () => Date
  #state: RtcState

  constructor(memory: { below4GibBytes: number; above4GibBytes: number }, now = () => new Date()) {
    this.#memory = memory
    this.#now = now
    this.#state = this.#powerOnState()
  }

  read(_offset: number, _width: AccessWidth): number {
    const index = (this.bytes[0] ?? 0) & indexMask
    return this.#clock(index) ?? this.#state.cmos[index] ?? 0
  }

  /** The time is the host's and cannot be set; the rest is memory. */
  write(_offset: number, _width: AccessWidth, value: number): void {
    const index = (this.bytes[0] ?? 0) & indexMask
    if (index !== register.d && index !== register.c) this.#state.cmos[index] = value & 0xff
  }

  async pause(): Promise<void> {
    this.#state.index = this.bytes[0] ?? 0
  }

  resume(): void {}

  reset(): void {
    this.#state = this.#powerOnState()
    this.bytes[0] = this.#state.index
  }

  async close(): Promise<void> {}

  #powerOnState(): RtcState {
    const cmos = new Array<number>(cmosBytes).fill(0)
    cmos[register.b] = hours24
    cmos[register.d] = ramIsValid
    // Memory above 16 MiB in 64 KiB units, and above 4 GiB, where firmware looks for it.
    const above16Mib = Math.max(0, Math.min(this.#memory.below4GibBytes - 16 * mebibyte, 0xffff * 65536)) / 65536
    cmos[0x34] = above16Mib & 0xff
    cmos[0x35] = (above16Mib >> 8) & 0xff
    const above4Gib = this.#memory.above4GibBytes / 65536
    cmos[0x5b] = above4Gib & 0xff
    cmos[0x5c] = Math.floor(above4Gib / 0x100) & 0xff
    cmos[0x5d] = Math.floor(above4Gib / 0x10000) & 0xff
    return { index: 0, cmos }
  }

  #clock(index: number): number | undefined {
    const now = this.#now()
    switch (index) {
      case register.seconds:
        return bcd(now.getUTCSeconds())
      case register.minutes:
        return bcd(now.getUTCMinutes())
      case register.hours:
        return bcd(now.getUTCHours())
      case register.weekday:
        return bcd(now.getUTCDay() + 1)
      case register.day:
        return bcd(now.getUTCDate())
      case register.month:
        return bcd(now.getUTCMonth() + 1)
      case register.year:
        return bcd(now.getUTCFullYear() % 100)
      case register.century:
        return bcd(Math.floor(now.getUTCFullYear() / 100))
      // The host's time is never half-way through an update.
      case register.a:
        return 0x26
      case register.c:
        return 0
      default:
        return undefined
    }
  }
}

function bcd(value: number): number {
  return (Math.floor(value / 10) << 4) | (value % 10)
}
