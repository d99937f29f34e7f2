import { defineState, type StateOf } from '../state/schema.ts'
import { bytes, list, object, u16 } from '../state/shapes.ts'

/** What the guest can change of a configuration space: runs of registers, ascending. */
export const writableRegisters = list(object({ offset: u16, bytes: bytes(1, 4096) }), 1024)

export const pciFunctionState = defineState('pci-function', object({ registers: writableRegisters }))

export type SavedRegisters = StateOf<typeof pciFunctionState>['registers']
