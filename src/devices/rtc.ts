import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { rtcState } from './rtc-state.ts'

const indexMask = 0x7f
const cmosBytes = 128
const register = {
  seconds: 0x00,
  minutes: 0x02,
  hours: 0x04,
  weekday: 0x06,
  day: 0x07,
  month: 0x08,
  year: 0x09,
  a: 0x0a,
  b: 0x0b,
  c: 0x0c,
  d: 0x0d,
  century: 0x32,
  memoryAbove16Mib: 0x34,
  memoryAbove4Gib: 0x5b,
} as const
/** Register A: the time base of 32768 Hz, periodic rate 1024 Hz. */
const powerOnA = 0x26
const updateInProgress = 0x80
/** Register B: hours count to 24, values are binary and not BCD. */
const format = { hours24: 0x02, binary: 0x04 } as const
const afternoon = 0x80
/** Register D. */
const ramIsValid = 0x80
/** The shutdown status with the NMI bit: a zero there is a guest's way to reset the machine. */
const shutdownStatus = 0x8f
const kibibyte = 1024
const unitBytes = 64 * kibibyte
/** How long the time stands still for a guest that has seen that no update is in progress (244 us on the chip). */
const stableMs = 10

interface RtcState {
  index: number
  cmos: number[]
}

export interface RtcOptions {
  /** Guest memory, for firmware. */
  readonly below4GibBytes: number
  readonly above4GibBytes: number
  /** The guest asks for a reset. */
  onReset(): void
  /** The host's time, which the guest reads in UTC. */
  readonly now?: () => Date
}

/** MC146818 clock and CMOS RAM at ports 0x70 and 0x71. The time is the host's and cannot be set; there are no alarms. */
export class Rtc implements Component, RegisterWindow {
  readonly name = '__rtc_cmos'
  readonly state = saved({
    schema: rtcState,
    save: () => ({ index: this.#state.index, cmos: Uint8Array.from(this.#state.cmos) }),
    load: ({ index, cmos }) => {
      this.#state = { index, cmos: [...cmos] }
      this.#seen = undefined
      this.bytes[0] = index
    },
  })
  readonly sizeBytes = 2
  readonly bytes = new Uint8Array(2)
  readonly spans: readonly Span[] = [
    { offset: 0, lengthBytes: 1, read: 'bytes', write: 'bytes' },
    { offset: 1, lengthBytes: 1, read: 'trap', write: 'trap' },
  ]
  readonly #options: RtcOptions
  readonly #now: () => Date
  #state: RtcState
  /** The time as of the last look at register A, so that the fields that are read after it belong together. */
  #seen: Date | undefined

  constructor(options: RtcOptions) {
    this.#options = options
    this.#now = options.now ?? (() => new Date())
    this.#state = this.#powerOnState()
  }

  read(_offset: number, _width: AccessWidth): number {
    const index = (this.bytes[0] ?? 0) & indexMask
    if (index === register.a) this.#seen = this.#now()
    return this.#clock(index) ?? this.#state.cmos[index] ?? 0
  }

  /** Time registers take what is written and go on reading as the time. */
  write(_offset: number, _width: AccessWidth, value: number): void {
    const selected = this.bytes[0] ?? 0
    if (selected === shutdownStatus && value === 0) {
      this.#options.onReset()
      return
    }
    const index = selected & indexMask
    if (index === register.c || index === register.d) return
    this.#state.cmos[index] = index === register.a ? value & ~updateInProgress & 0xff : value & 0xff
  }

  async pause(): Promise<void> {
    this.#state.index = this.bytes[0] ?? 0
  }

  resume(): void {}

  reset(): void {
    this.#state = this.#powerOnState()
    this.#seen = undefined
    this.bytes.fill(0)
  }

  async close(): Promise<void> {}

  #powerOnState(): RtcState {
    const { below4GibBytes, above4GibBytes } = this.#options
    const cmos = new Array<number>(cmosBytes).fill(0)
    const put = (index: number, bytes: number, value: number) => {
      for (let byte = 0; byte < bytes; byte += 1) cmos[index + byte] = Math.floor(value / 256 ** byte) % 256
    }
    const units = (sizeBytes: number, maximum: number) =>
      Math.min(maximum, Math.max(0, Math.floor(sizeBytes / unitBytes)))
    cmos[register.a] = powerOnA
    cmos[register.b] = format.hours24
    cmos[register.d] = ramIsValid
    put(register.memoryAbove16Mib, 2, units(below4GibBytes - 16 * kibibyte * kibibyte, 0xffff))
    put(register.memoryAbove4Gib, 3, units(above4GibBytes, 0xff_ffff))
    return { index: 0, cmos }
  }

  #time(): Date {
    const now = this.#now()
    const age = this.#seen === undefined ? stableMs : now.getTime() - this.#seen.getTime()
    return this.#seen !== undefined && age >= 0 && age < stableMs ? this.#seen : now
  }

  #clock(index: number): number | undefined {
    switch (index) {
      case register.seconds:
        return this.#encoded(this.#time().getUTCSeconds())
      case register.minutes:
        return this.#encoded(this.#time().getUTCMinutes())
      case register.hours:
        return this.#hours(this.#time().getUTCHours())
      case register.weekday:
        return this.#encoded(this.#time().getUTCDay() + 1)
      case register.day:
        return this.#encoded(this.#time().getUTCDate())
      case register.month:
        return this.#encoded(this.#time().getUTCMonth() + 1)
      case register.year:
        return this.#encoded(this.#time().getUTCFullYear() % 100)
      case register.century:
        return this.#encoded(Math.floor(this.#time().getUTCFullYear() / 100))
      default:
        return undefined
    }
  }

  #hours(hours: number): number {
    if (this.#has(format.hours24)) return this.#encoded(hours)
    return this.#encoded(hours % 12 === 0 ? 12 : hours % 12) | (hours >= 12 ? afternoon : 0)
  }

  #encoded(value: number): number {
    return this.#has(format.binary) ? value : (Math.floor(value / 10) << 4) | (value % 10)
  }

  #has(bit: number): boolean {
    return ((this.#state.cmos[register.b] ?? 0) & bit) !== 0
  }
}
