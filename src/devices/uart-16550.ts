import type { Span } from '../bus/registers.ts'

/** The registers of a 16550A (National Semiconductor PC16550D §8). */
export const register = {
  /** Receiver buffer and transmitter holding register; low divisor latch. */
  data: 0,
  /** Interrupt enable; high divisor latch. */
  interruptEnable: 1,
  /** Interrupt identification when read, FIFO control when written. */
  interruptId: 2,
  lineControl: 3,
  modemControl: 4,
  lineStatus: 5,
  modemStatus: 6,
  scratch: 7,
} as const

export const interruptEnable = { received: 1, transmitEmpty: 2, lineStatus: 4, modemStatus: 8, all: 0x0f } as const

/** In the order of their priority; `none` is the one without an interrupt. */
export const interruptId = {
  lineStatus: 0x06,
  received: 0x04,
  receiveTimeout: 0x0c,
  transmitEmpty: 0x02,
  modemStatus: 0x00,
  none: 0x01,
  fifosOn: 0xc0,
} as const

export const fifoControl = { enable: 0x01, clearReceived: 0x02, trigger: 0xc0 } as const
export const fifoBytes = 16
/** Bytes that make an interrupt, by the two trigger bits. */
const triggerBytes = [1, 4, 8, 14]

export function triggerLevel(control: number): number {
  return triggerBytes[control >> 6] ?? 1
}

export const lineControl = { divisorLatchAccess: 0x80 } as const

export const lineStatus = {
  dataReady: 0x01,
  overrun: 0x02,
  breakCondition: 0x10,
  /** Holding register and shift register are both empty. */
  transmitEmpty: 0x60,
  fifoError: 0x80,
} as const

export const modemControl = { dtr: 0x01, rts: 0x02, out1: 0x04, out2: 0x08, loopback: 0x10, all: 0x1f } as const

export const modemStatus = { clearToSend: 0x10, dataSetReady: 0x20, ring: 0x40, carrier: 0x80 } as const
const ringEnded = 0x04

/** In loopback the outputs come back as inputs (§8.7). */
export function loopedInputs(control: number): number {
  const back = (output: number, input: number) => ((control & output) !== 0 ? input : 0)
  return (
    back(modemControl.rts, modemStatus.clearToSend) |
    back(modemControl.dtr, modemStatus.dataSetReady) |
    back(modemControl.out1, modemStatus.ring) |
    back(modemControl.out2, modemStatus.carrier)
  )
}

/** The delta bits for modem inputs that changed: any change, but of the ring indicator only its end (§8.8). */
export function modemDeltas(before: number, after: number): number {
  const changed = (before ^ after) & (modemStatus.clearToSend | modemStatus.dataSetReady | modemStatus.carrier)
  const hasRingEnded = (before & ~after & modemStatus.ring) !== 0
  return (changed >> 4) | (hasRingEnded ? ringEnded : 0)
}

/** What makes a read of a register more than a look at it. */
export interface SideEffects {
  /** The divisor latch is where data and interrupt enable are otherwise. */
  readonly isDivisorLatched: boolean
  /** Reading the interrupt identification may acknowledge the transmitter's interrupt. */
  readonly interruptId: boolean
  /** Reading the status clears what is in it. */
  readonly lineStatus: boolean
  readonly modemStatus: boolean
}

/** Spans that trap only where the guest's access has an effect; the same object for the same effects. */
export function uartSpans(effects: SideEffects): readonly Span[] {
  const index =
    Number(effects.isDivisorLatched) |
    (Number(effects.interruptId) << 1) |
    (Number(effects.lineStatus) << 2) |
    (Number(effects.modemStatus) << 3)
  const made = spansByEffects[index]
  if (made !== undefined) return made
  const spans = makeSpans(effects)
  spansByEffects[index] = spans
  return spans
}

const spansByEffects: (readonly Span[] | undefined)[] = []

function makeSpans(effects: SideEffects): readonly Span[] {
  const byte = (offset: number, read: Span['read'], write: Span['write']) => ({ offset, lengthBytes: 1, read, write })
  const unless = (hasEffect: boolean) => (hasEffect ? 'trap' : 'bytes')
  const low: readonly Span[] = effects.isDivisorLatched
    ? [{ offset: register.data, lengthBytes: 2, read: 'bytes', write: 'bytes' }]
    : [byte(register.data, 'trap', 'post'), byte(register.interruptEnable, 'bytes', 'trap')]
  return [
    ...low,
    byte(register.interruptId, unless(effects.interruptId), 'trap'),
    byte(register.lineControl, 'bytes', 'trap'),
    byte(register.modemControl, 'bytes', 'trap'),
    byte(register.lineStatus, unless(effects.lineStatus), 'ignore'),
    byte(register.modemStatus, unless(effects.modemStatus), 'ignore'),
    byte(register.scratch, 'bytes', 'bytes'),
  ]
}
