import { defineState } from '../state/schema.ts'
import { object, u32 } from '../state/shapes.ts'

/** A bit a slot: functions that have come and that shall go, of which the guest does not know yet, and all that shall go. */
export const acpiPciHotplugState = defineState(
  'acpi-pci-hotplug',
  object({ arrived: u32, leaving: u32, unwanted: u32 }),
)
