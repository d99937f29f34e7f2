import { closeSync, openSync, readSync } from 'node:fs'
import { entryFields, headerFields, headerSignature, nameBytes, sectorBytes } from './gpt-format.ts'

/** A partition of a disk, as its GPT has it (UEFI 2.10 §5.3). */
export interface Partition {
  readonly number: number
  readonly name: string
  readonly offsetBytes: number
  readonly sizeBytes: number
  readonly fileSystem: 'ext' | 'btrfs' | undefined
}

const mostEntries = 1024
/** Where a file system says what it is, and with which bytes. */
const signatures = [
  { fileSystem: 'btrfs', offset: 0x10040, bytes: Buffer.from('_BHRfS_M') },
  { fileSystem: 'ext', offset: 0x438, bytes: Buffer.from([0x53, 0xef]) },
] as const

/** The partitions of a disk image or device with a GPT, in the order of their numbers. Throws an Error that names it. */
export function readPartitions(path: string): Partition[] {
  const fd = openSync(path, 'r')
  const read = (position: number, length: number) => {
    const bytes = Buffer.alloc(length)
    readSync(fd, bytes, { position })
    return bytes
  }
  try {
    const head = read(sectorBytes, sectorBytes)
    if (!head.toString('latin1', headerFields.signature).startsWith(headerSignature))
      throw new Error(`${path}: has no GPT`)
    const count = head.readUInt32LE(headerFields.entryCount)
    const entryBytes = head.readUInt32LE(headerFields.entryBytes)
    if (count > mostEntries || entryBytes < entryFields.name + nameBytes || entryBytes > sectorBytes * 8) {
      throw new Error(`${path}: its GPT has ${count} entries of ${entryBytes} bytes`)
    }
    const table = read(Number(head.readBigUInt64LE(headerFields.tableAt)) * sectorBytes, count * entryBytes)
    return Array.from({ length: count }, (_, index) =>
      table.subarray(index * entryBytes, (index + 1) * entryBytes),
    ).flatMap((bytes, index) =>
      bytes.subarray(entryFields.type, entryFields.guid).every(byte => byte === 0)
        ? []
        : [partitionOf(bytes, index + 1, read)],
    )
  } finally {
    closeSync(fd)
  }
}

function partitionOf(bytes: Buffer, number: number, read: (position: number, length: number) => Buffer): Partition {
  const [first, last] = [bytes.readBigUInt64LE(entryFields.firstSector), bytes.readBigUInt64LE(entryFields.lastSector)]
  const offsetBytes = Number(first) * sectorBytes
  const found = signatures.find(({ offset, bytes: own }) => read(offsetBytes + offset, own.length).equals(own))
  const name = bytes.toString('utf16le', entryFields.name, entryFields.name + nameBytes).replace(/\0.*$/s, '')
  return {
    number,
    name,
    offsetBytes,
    sizeBytes: Number(last - first + 1n) * sectorBytes,
    fileSystem: found?.fileSystem,
  }
}
