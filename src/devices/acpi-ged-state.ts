import { defineState } from '../state/schema.ts'
import { object, u8 } from '../state/shapes.ts'

export const acpiGedState = defineState('acpi-ged', object({ pendingEvents: u8 }))
