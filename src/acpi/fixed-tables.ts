import { concatenate, writeUint } from '../util/bytes.ts'
import { checksumOf, TableBody, table } from './tables.ts'

const systemIo = 1
const byteAccess = 1
const doubleWordAccess = 3

export interface FixedHardware {
  readonly dsdtAddress: number
  /** The port for sleep control, sleep status and reset. */
  readonly controlPort: number
  readonly resetValue: number
  readonly pmTimerPort: number
}

// Fixed feature flags (ACPI 6.5 table 5.10).
const wbinvd = 1 << 0
const powerButtonIsControlMethod = 1 << 4
const sleepButtonIsControlMethod = 1 << 5
const timerIs32Bits = 1 << 8
const resetRegisterSupported = 1 << 10
const hardwareReduced = 1 << 20

/** Fixed ACPI Description Table (§5.2.9), hardware-reduced (§4.1): no SCI, no PM1 blocks. */
export function fadt({ dsdtAddress, controlPort, resetValue, pmTimerPort }: FixedHardware): Uint8Array<ArrayBuffer> {
  const noVgaNoAspmNoCmosClock = (1 << 2) | (1 << 4) | (1 << 5)
  const body = new TableBody(276)
    .set(76, 4, pmTimerPort)
    .set(91, 1, 4)
    .set(109, 2, noVgaNoAspmNoCmosClock)
    .set(
      112,
      4,
      wbinvd |
        powerButtonIsControlMethod |
        sleepButtonIsControlMethod |
        timerIs32Bits |
        resetRegisterSupported |
        hardwareReduced,
    )
    .setAddress(116, systemIo, 8, byteAccess, controlPort)
    .set(128, 1, resetValue)
    .set(131, 1, 3)
    .set(140, 8, dsdtAddress)
    .setAddress(208, systemIo, 32, doubleWordAccess, pmTimerPort)
    .setAddress(244, systemIo, 8, byteAccess, controlPort)
    .setAddress(256, systemIo, 8, byteAccess, controlPort)
  body.bytes.set(Buffer.from('CLOUDHYP', 'latin1'), 268 - 36)
  return table('FACP', 6, 'CHFACP', body.bytes)
}

export interface InterruptHardware {
  readonly apicIds: readonly number[]
  readonly lapicAddress: number
  readonly ioapicAddress: number
}

/** Ids from here on need the x2APIC form; 0xff means all processors (§5.2.12.2). */
const firstX2apicId = 0xff

/** Multiple APIC Description Table (§5.2.12). */
export function madt({ apicIds, lapicAddress, ioapicAddress }: InterruptHardware): Uint8Array<ArrayBuffer> {
  const enabled = 1
  const processors = apicIds.map((apicId, uid) => {
    if (apicId < firstX2apicId) {
      const entry = new Uint8Array([0, 8, uid, apicId, 0, 0, 0, 0])
      writeUint(entry, 4, 4, enabled)
      return entry
    }
    const entry = new Uint8Array(16)
    entry.set([9, 16])
    writeUint(entry, 4, 4, apicId)
    writeUint(entry, 8, 4, enabled)
    writeUint(entry, 12, 4, uid)
    return entry
  })
  const ioapic = new Uint8Array(12)
  ioapic.set([1, 12, 0])
  writeUint(ioapic, 4, 4, ioapicAddress)
  const head = new Uint8Array(8)
  writeUint(head, 0, 4, lapicAddress)
  // ISA interrupt 4 is the UART's: edge-triggered and active high, as the bus is, so nothing needs an override.
  const allProcessorsNmiOnLint1 = new Uint8Array([4, 6, 0xff, 0, 0, 1])
  return table('APIC', 5, 'CHMADT', concatenate([head, ...processors, ioapic, allProcessorsNmiOnLint1]))
}

/** PCI Express memory-mapped configuration space (PCI Firmware Specification 3.3 §4.1.2): one bus a segment. */
export function mcfg(
  segments: readonly { readonly segment: number; readonly ecamAddress: number }[],
): Uint8Array<ArrayBuffer> {
  const entries = segments.map(({ segment, ecamAddress }) => {
    const entry = new Uint8Array(16)
    writeUint(entry, 0, 8, ecamAddress)
    writeUint(entry, 8, 2, segment)
    return entry
  })
  return table('MCFG', 1, 'CHMCFG', concatenate([new Uint8Array(8), ...entries]))
}

/** Extended System Description Table (§5.2.8). */
export function xsdt(addresses: readonly number[]): Uint8Array<ArrayBuffer> {
  const body = new Uint8Array(addresses.length * 8)
  addresses.forEach((address, index) => {
    writeUint(body, index * 8, 8, address)
  })
  return table('XSDT', 1, 'CHXSDT', body)
}

const rsdpBytes = 36

/** Root System Description Pointer, revision 2 (§5.2.5.3). */
export function rsdp(xsdtAddress: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(rsdpBytes)
  bytes.set(Buffer.from('RSD PTR ', 'latin1'), 0)
  bytes.set(Buffer.from('CLOUDH', 'latin1'), 9)
  bytes[15] = 2
  writeUint(bytes, 20, 4, rsdpBytes)
  writeUint(bytes, 24, 8, xsdtAddress)
  // The first checksum covers what revision 1 had.
  bytes[8] = checksumOf(bytes.subarray(0, 20))
  bytes[32] = checksumOf(bytes)
  return bytes
}
