import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'

/** A partition table of one kind only: GPT with sectors of 512 bytes (UEFI 2.10 §5.3). */
export const sectorBytes = 512
const entryCount = 128
const entryBytes = 128
const headerBytes = 92
const tableSectors = (entryCount * entryBytes) / sectorBytes
/** Partitions begin at multiples of a MiB, as everybody's do. */
const alignmentSectors = 2048
const nameCharacters = 36

/** Partition types by the names that sfdisk has for them. */
export const partitionTypes = {
  uefi: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b',
  linux: '0fc63daf-8483-4772-8e79-3d69d8477de4',
  /** Linux's extended boot partition, /boot. */
  boot: 'bc13c2ff-59e6-4262-a352-b275fd6f7172',
} as const
export type PartitionType = keyof typeof partitionTypes

export interface PartitionRequest {
  /** Its number in the table, 1 to 128; the order on the disk is that of the list. */
  readonly number: number
  readonly type: PartitionType
  readonly name: string
  readonly sizeBytes: number
}

export interface DiskLayout {
  readonly sizeBytes: number
  /** Where each partition begins, in bytes and in the order of the requests. */
  readonly offsets: readonly number[]
  /** Protective MBR, header and table: the first sectors. */
  readonly head: Uint8Array
  /** Table and header again: the last sectors. */
  readonly tail: Uint8Array
}

/** Lays a disk out. The same requests make the same bytes, GUIDs included. Throws where a request makes no sense. */
export function layOutDisk(requests: readonly PartitionRequest[]): DiskLayout {
  const table = Buffer.alloc(entryCount * entryBytes)
  const offsets: number[] = []
  const seed = JSON.stringify(requests)
  let next = alignmentSectors
  for (const { number, type, name, sizeBytes } of requests) {
    if (!Number.isInteger(number) || number < 1 || number > entryCount)
      throw new Error(`partition ${number}: no number`)
    if (sizeBytes <= 0) throw new Error(`partition ${number}: is empty`)
    if (name.length > nameCharacters) throw new Error(`partition ${number}: its name is longer than ${nameCharacters}`)
    const at = (number - 1) * entryBytes
    if (table.readBigUInt64LE(at) !== 0n) throw new Error(`partition ${number}: is there twice`)
    const sectors = Math.ceil(sizeBytes / sectorBytes)
    guid(partitionTypes[type]).copy(table, at)
    guid(derivedGuid(seed, number)).copy(table, at + 16)
    table.writeBigUInt64LE(BigInt(next), at + 32)
    table.writeBigUInt64LE(BigInt(next + sectors - 1), at + 40)
    table.write(name, at + 56, 'utf16le')
    offsets.push(next * sectorBytes)
    next = Math.ceil((next + sectors) / alignmentSectors) * alignmentSectors
  }
  const lastSector = next + alignmentSectors - 1
  const header = (own: number, other: number, tableAt: number) => {
    const bytes = Buffer.alloc(sectorBytes)
    bytes.write('EFI PART', 0, 'latin1')
    bytes.writeUInt32LE(0x10000, 8)
    bytes.writeUInt32LE(headerBytes, 12)
    bytes.writeBigUInt64LE(BigInt(own), 24)
    bytes.writeBigUInt64LE(BigInt(other), 32)
    bytes.writeBigUInt64LE(BigInt(2 + tableSectors), 40)
    bytes.writeBigUInt64LE(BigInt(lastSector - tableSectors - 1), 48)
    guid(derivedGuid(seed, 0)).copy(bytes, 56)
    bytes.writeBigUInt64LE(BigInt(tableAt), 72)
    bytes.writeUInt32LE(entryCount, 80)
    bytes.writeUInt32LE(entryBytes, 84)
    bytes.writeUInt32LE(crc32(table), 88)
    bytes.writeUInt32LE(crc32(bytes.subarray(0, headerBytes)), 16)
    return bytes
  }
  return {
    sizeBytes: (lastSector + 1) * sectorBytes,
    offsets,
    head: Buffer.concat([protectiveMbr(lastSector), header(1, lastSector, 2), table]),
    tail: Buffer.concat([table, header(lastSector, 1, lastSector - tableSectors)]),
  }
}

/** One partition over all of the disk, for programs that know no GPT (§5.2.3). */
function protectiveMbr(lastSector: number): Buffer {
  const bytes = Buffer.alloc(sectorBytes)
  bytes.writeUInt32LE(0x0002_0000, 446)
  bytes.writeUInt32LE(0xffff_ffee, 450)
  bytes.writeUInt32LE(1, 454)
  bytes.writeUInt32LE(Math.min(lastSector, 0xffff_ffff), 458)
  bytes.writeUInt16LE(0xaa55, 510)
  return bytes
}

/** Random in form (RFC 9562 version 4), but the same from the same disk. */
function derivedGuid(seed: string, number: number): string {
  const digest = createHash('sha256').update(`${number} ${seed}`).digest().subarray(0, 16)
  digest.writeUInt8((digest.readUInt8(6) & 0x0f) | 0x40, 6)
  digest.writeUInt8((digest.readUInt8(8) & 0x3f) | 0x80, 8)
  return digest.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/** The first three groups lie in memory with their lowest byte first (§A). */
function guid(text: string): Buffer {
  const bytes = Buffer.from(text.replaceAll('-', ''), 'hex')
  bytes.subarray(0, 4).reverse()
  bytes.subarray(4, 6).reverse()
  bytes.subarray(6, 8).reverse()
  return bytes
}
