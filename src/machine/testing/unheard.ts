import type { MachineEvents } from '../build.ts'

const nothing = () => {}

/** Of machines whose events no test looks at. */
export const unheard: MachineEvents = {
  ...{ powerOff: nothing, reset: nothing, crash: nothing, memoryLost: nothing },
  ...{ debugCode: nothing, needsReset: nothing, diskFault: nothing, deviceRemoved: nothing, quit: nothing },
}
