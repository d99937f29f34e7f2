import { defineState } from '../state/schema.ts'
import { object, u32 } from '../state/shapes.ts'

export const acpiPmTimerState = defineState('acpi-pm-timer', object({ ticks: u32 }))
