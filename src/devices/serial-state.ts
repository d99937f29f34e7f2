import { defineState } from '../state/schema.ts'
import { bits, flag, list, object, u8, u16 } from '../state/shapes.ts'

/** PC16550D §8.5: the depth of the FIFO. */
const fifoBytes = 16
/** §8.6.1: overrun, parity, framing, break. */
const errors = 0x1e

/** Registers as the guest wrote them; what the guest has not read yet, each byte with its errors above it. */
export const serialState = defineState(
  'serial-16550',
  object({
    interruptEnable: bits(0x0f),
    lineControl: u8,
    modemControl: bits(0x1f),
    fifoControl: bits(0xc1),
    scratch: u8,
    divisor: u16,
    isTransmitInterruptPending: flag,
    received: list(bits((errors << 8) | 0xff), fifoBytes),
    lineErrors: bits(errors),
    modemDeltas: bits(0x0f),
  }),
)
