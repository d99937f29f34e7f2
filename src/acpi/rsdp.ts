import { writeUint } from '../util/bytes.ts'
import { checksumOf, oemId } from './table.ts'

export const rsdpBytes = 36
/** What revision 1 had, which the first checksum covers. */
const firstRevisionBytes = 20

/** Root System Description Pointer, revision 2 (ACPI 6.5 §5.2.5.3): no RSDT, only an XSDT. */
export function rsdp(xsdtAddress: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(rsdpBytes)
  bytes.set(Buffer.from('RSD PTR ', 'latin1'), 0)
  bytes.set(Buffer.from(oemId, 'latin1'), 9)
  bytes[15] = 2
  writeUint(bytes, 20, 4, rsdpBytes)
  writeUint(bytes, 24, 8, xsdtAddress)
  bytes[8] = checksumOf(bytes.subarray(0, firstRevisionBytes))
  bytes[32] = checksumOf(bytes)
  return bytes
}
