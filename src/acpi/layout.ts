import { alignUp } from '../util/bytes.ts'
import { TsvmmError } from '../util/errors.ts'
import { type DsdtDescription, dsdt } from './dsdt.ts'
import { type FixedHardware, fadt, type InterruptHardware, madt, mcfg, rsdp, xsdt } from './fixed-tables.ts'

export interface AcpiDescription {
  readonly dsdt: DsdtDescription
  readonly hardware: Omit<FixedHardware, 'dsdtAddress'>
  readonly interrupts: InterruptHardware
  /** Where the RSDP goes; the other tables follow it. */
  readonly address: number
  /** One past the last address that tables may use. */
  readonly end: number
}

export interface PlacedTable {
  readonly signature: string
  readonly address: number
  readonly bytes: Uint8Array<ArrayBuffer>
}

const tableAlignment = 16

/** All ACPI tables with their addresses, the RSDP first. Throws ERR_RESOURCE_EXHAUSTED where they do not fit. */
export function placeTables(description: AcpiDescription): PlacedTable[] {
  const placed: PlacedTable[] = []
  let next = description.address + 48
  const place = (bytes: Uint8Array<ArrayBuffer>): number => {
    const address = alignUp(next, tableAlignment)
    next = address + bytes.length
    placed.push({ signature: Buffer.from(bytes.subarray(0, 4)).toString('latin1'), address, bytes })
    return address
  }
  const dsdtAddress = place(dsdt(description.dsdt))
  const entries = [
    place(fadt({ ...description.hardware, dsdtAddress })),
    place(madt(description.interrupts)),
    place(mcfg(description.dsdt.segments)),
  ]
  const xsdtAddress = place(xsdt(entries))
  if (next > description.end) {
    const reason = `they need ${next - description.address} bytes of ${description.end - description.address}`
    throw new TsvmmError('ERR_RESOURCE_EXHAUSTED', { what: 'room for ACPI tables', reason })
  }
  return [{ signature: 'RSDP', address: description.address, bytes: rsdp(xsdtAddress) }, ...placed]
}
