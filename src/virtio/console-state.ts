import { defineState, type StateOf } from '../state/schema.ts'
import { object, u16 } from '../state/shapes.ts'

/** The size of the terminal that the guest knows of; 0 where it was told of none. */
export const consoleState = defineState('virtio-console', object({ columns: u16, rows: u16 }))

export type SavedConsole = StateOf<typeof consoleState>
