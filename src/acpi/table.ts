import { concatenate, writeUint } from '../util/bytes.ts'

export const headerBytes = 36
const checksumOffset = 9
const oemRevision = 1
const creatorRevision = 1

/** Cloud Hypervisor's, which guests and their tools know. */
export const oemId = 'CLOUDH'
/** Fields at fixed places of text are padded with spaces. */
const oemTableIdBytes = 8

/** A whole table with header and checksum. */
export type AcpiTable = Uint8Array<ArrayBuffer>

/** The header that every table but the RSDP starts with (ACPI 6.5 §5.2.6), `body`, and a right checksum. */
export function table(signature: string, revision: number, oemTableId: string, body: Uint8Array): AcpiTable {
  const header = new Uint8Array(headerBytes)
  header.set(Buffer.from(signature, 'latin1'), 0)
  writeUint(header, 4, 4, headerBytes + body.length)
  header[8] = revision
  header.set(Buffer.from(oemId, 'latin1'), 10)
  header.set(Buffer.from(oemTableId.padEnd(oemTableIdBytes, ' '), 'latin1'), 16)
  writeUint(header, 24, 4, oemRevision)
  header.set(Buffer.from('RVAT', 'latin1'), 28)
  writeUint(header, 32, 4, creatorRevision)
  const bytes = concatenate([header, body])
  bytes[checksumOffset] = checksumOf(bytes)
  return bytes
}

/** What makes all bytes add up to zero. */
export function checksumOf(bytes: Uint8Array): number {
  const sum = bytes.reduce((total, byte) => (total + byte) & 0xff, 0)
  return (0x100 - sum) & 0xff
}

/** The fixed part of a table behind its header. Offsets count from the start of the table, as specifications do. */
export class TableBody {
  readonly bytes: Uint8Array<ArrayBuffer>

  constructor(tableBytes: number) {
    this.bytes = new Uint8Array(tableBytes - headerBytes)
  }

  set(offset: number, width: 1 | 2 | 4 | 8, value: number | bigint): this {
    writeUint(this.bytes, offset - headerBytes, width, value)
    return this
  }

  setText(offset: number, text: string): this {
    this.bytes.set(Buffer.from(text, 'latin1'), offset - headerBytes)
    return this
  }

  /** A generic address structure (§5.2.3.2) for a register in the port space that is accessed in one piece. */
  setPort(offset: number, widthBits: 8 | 16 | 32, port: number): this {
    const systemIo = 1
    const accessSize = { 8: 1, 16: 2, 32: 3 } as const
    return this.set(offset, 1, systemIo)
      .set(offset + 1, 1, widthBits)
      .set(offset + 3, 1, accessSize[widthBits])
      .set(offset + 4, 8, port)
  }
}
