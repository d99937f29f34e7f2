import { defineState } from '../state/schema.ts'
import { bytes, object, u8 } from '../state/shapes.ts'

export const rtcState = defineState('rtc-mc146818', object({ index: u8, cmos: bytes(128) }))
