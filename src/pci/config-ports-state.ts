import { defineState } from '../state/schema.ts'
import { object, u32 } from '../state/shapes.ts'

export const configPortsState = defineState('pci-config-ports', object({ address: u32 }))
