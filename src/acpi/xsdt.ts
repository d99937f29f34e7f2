import { writeUint } from '../util/bytes.ts'
import { type AcpiTable, table } from './table.ts'

/** Extended System Description Table (ACPI 6.5 §5.2.8): the addresses of all tables but the DSDT, which the FADT has. */
export function xsdt(addresses: readonly number[]): AcpiTable {
  const body = new Uint8Array(addresses.length * 8)
  addresses.forEach((address, index) => {
    writeUint(body, index * 8, 8, address)
  })
  return table('XSDT', 1, 'CHXSDT', body)
}
