import type { Aml } from './aml/encoding.ts'
import type { AcpiTable } from './table.ts'

/** What the Generic Event Device's register says has happened; one bit an event, the first four Cloud Hypervisor's. */
export const gedEvents = { cpus: 1, memory: 2, pci: 4, powerButton: 8, vmGenerationId: 16, vmClock: 32 } as const

export type GedEvent = keyof typeof gedEvents

/** What a part of the machine that brings its own firmware description adds to that of the platform. */
export interface AcpiContribution {
  /**
   * Terms at the root of the DSDT, behind the platform's: a scope of `\_SB` for a device of its own, of
   * `\_SB.PC00` for more about a PCI root bridge, of `\_SB.CPUS.C000` for more about a processor.
   */
  readonly dsdt?: readonly Aml[]
  /** Whole tables, to be listed in the XSDT in this order. */
  readonly tables?: readonly AcpiTable[]
  /** What the guest is to execute when the Generic Event Device reports the event: a call or a notification. */
  readonly onGedEvent?: Partial<Readonly<Record<GedEvent, Aml>>>
}
