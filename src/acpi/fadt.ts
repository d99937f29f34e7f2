import { type AcpiTable, TableBody, table } from './table.ts'

/** Registers of the platform that are at fixed places, all in the port space. */
export interface FixedHardware {
  /** Sleep control, sleep status and reset register in one byte. */
  readonly controlPort: number
  /** What a guest writes there to reset the machine. */
  readonly resetValue: number
  /** An MC146818 clock; a guest that is told of none takes the time from its paravirtual clock. */
  readonly rtcPort?: number
}

const tableBytes = 276
const minorVersion = 3

/** Boot architecture flags (table 5.11). Neither devices of the ISA age nor a keyboard controller are announced. */
const bootArchitecture = { noVga: 1 << 2, noAspm: 1 << 4, noCmosClock: 1 << 5 } as const

/** Fixed feature flags (table 5.10). */
const feature = {
  wbinvd: 1 << 0,
  powerButtonIsDevice: 1 << 4,
  sleepButtonIsDevice: 1 << 5,
  resetRegister: 1 << 10,
  hardwareReduced: 1 << 20,
} as const

/**
 * Fixed ACPI Description Table 6.3 (§5.2.9), hardware-reduced (§4.1): no SCI, no PM1 blocks, no FACS. Nor has such a platform
 * a power management timer: ours is at its port for firmware that expects it there, and guests have a paravirtual clock.
 */
export function fadt(dsdtAddress: number, hardware: FixedHardware): AcpiTable {
  const { controlPort, resetValue, rtcPort } = hardware
  const { noVga, noAspm, noCmosClock } = bootArchitecture
  const { wbinvd, powerButtonIsDevice, sleepButtonIsDevice, resetRegister, hardwareReduced } = feature
  const features = wbinvd | powerButtonIsDevice | sleepButtonIsDevice | resetRegister | hardwareReduced
  const body = new TableBody(tableBytes)
    .set(109, 2, noVga | noAspm | (rtcPort === undefined ? noCmosClock : 0))
    .set(112, 4, features)
    .setPort(116, 8, controlPort)
    .set(128, 1, resetValue)
    .set(131, 1, minorVersion)
    .set(140, 8, dsdtAddress)
    .setPort(244, 8, controlPort)
    .setPort(256, 8, controlPort)
    .setText(268, 'CLOUDHYP')
  return table('FACP', 6, 'CHFACP', body.bytes)
}
