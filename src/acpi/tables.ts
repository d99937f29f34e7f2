import { concatenate, writeUint } from '../util/bytes.ts'

const headerBytes = 36
const checksumOffset = 9

/** The header that every table but the RSDP starts with (ACPI 6.5 §5.2.6), and its checksum. */
export function table(
  signature: string,
  revision: number,
  oemTableId: string,
  body: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(headerBytes)
  header.set(Buffer.from(signature, 'latin1'), 0)
  writeUint(header, 4, 4, headerBytes + body.length)
  header[8] = revision
  header.set(Buffer.from('CLOUDH', 'latin1'), 10)
  header.set(Buffer.from(oemTableId.padEnd(8, ' ').slice(0, 8), 'latin1'), 16)
  writeUint(header, 24, 4, 1)
  header.set(Buffer.from('RVAT', 'latin1'), 28)
  writeUint(header, 32, 4, 1)
  const bytes = concatenate([header, body])
  bytes[checksumOffset] = checksumOf(bytes)
  return bytes
}

/** What makes all bytes add up to zero. */
export function checksumOf(bytes: Uint8Array): number {
  const sum = bytes.reduce((total, byte) => (total + byte) & 0xff, 0)
  return (0x100 - sum) & 0xff
}

/** Little-endian fields of a table's body, written at their offset within the whole table. */
export class TableBody {
  readonly bytes: Uint8Array<ArrayBuffer>

  constructor(tableBytes: number) {
    this.bytes = new Uint8Array(tableBytes - headerBytes)
  }

  set(offset: number, width: 1 | 2 | 4 | 8, value: number | bigint): this {
    writeUint(this.bytes, offset - headerBytes, width, value)
    return this
  }

  /** Generic address structure (§5.2.3.2). Spaces: 0 memory, 1 ports. Access size: 1 byte, 3 double word. */
  setAddress(offset: number, space: number, bits: number, accessSize: number, address: number): this {
    return this.set(offset, 1, space)
      .set(offset + 1, 1, bits)
      .set(offset + 3, 1, accessSize)
      .set(offset + 4, 8, address)
  }
}
