import { defineState, type StateOf } from '../state/schema.ts'
import { bits, flag, list, object, u8 } from '../state/shapes.ts'

/** As many pins as any I/O APIC has (82093AA §3.2.2: eight bits). */
const mostPins = 240

export const ioapicState = defineState(
  'ioapic-82093aa',
  object({
    /** As the register has it. */
    id: bits(0x0f00_0000),
    select: u8,
    pins: list(
      object({
        /** A redirection entry without the delivery status, which is never set. */
        low: bits(0x1_efff),
        high: bits(0xffff_0000),
        /** What the device says. */
        isAsserted: flag,
        /** An edge that came while the pin was masked. */
        isPending: flag,
      }),
      mostPins,
    ),
  }),
)

export type SavedIoapic = StateOf<typeof ioapicState>
