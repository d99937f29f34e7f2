import { defineState } from '../state/schema.ts'
import { bytes, object } from '../state/shapes.ts'

export const vmGenerationIdState = defineState('vm-generation-id', object({ id: bytes(16) }))
