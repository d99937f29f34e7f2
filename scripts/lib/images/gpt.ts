import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { entryFields, headerBytes, headerFields, headerSignature, nameBytes, sectorBytes } from './gpt-format.ts'

const entryCount = 128
const entryBytes = 128
const tableSectors = (entryCount * entryBytes) / sectorBytes
/** Partitions begin at multiples of a MiB, as everybody's do. */
const alignmentSectors = 2048
const nameCharacters = nameBytes / 2

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
  for (const request of requests) {
    const entry = entryFor(table, request)
    const sectors = Math.ceil(request.sizeBytes / sectorBytes)
    guid(partitionTypes[request.type]).copy(entry, entryFields.type)
    guid(derivedGuid(seed, request.number)).copy(entry, entryFields.guid)
    entry.writeBigUInt64LE(BigInt(next), entryFields.firstSector)
    entry.writeBigUInt64LE(BigInt(next + sectors - 1), entryFields.lastSector)
    entry.write(request.name, entryFields.name, 'utf16le')
    offsets.push(next * sectorBytes)
    next = Math.ceil((next + sectors) / alignmentSectors) * alignmentSectors
  }
  const lastSector = next + alignmentSectors - 1
  const header = { lastSector, diskGuid: derivedGuid(seed, 0), tableDigest: crc32(table) }
  return {
    sizeBytes: (lastSector + 1) * sectorBytes,
    offsets,
    head: Buffer.concat([protectiveMbr(lastSector), headerOf(header, 1, 2), table]),
    tail: Buffer.concat([table, headerOf(header, lastSector, lastSector - tableSectors)]),
  }
}

/** The bytes of the table where a request is written. */
function entryFor(table: Buffer, { number, name, sizeBytes }: PartitionRequest): Buffer {
  if (!Number.isInteger(number) || number < 1 || number > entryCount) throw new Error(`partition ${number}: no number`)
  if (sizeBytes <= 0) throw new Error(`partition ${number}: is empty`)
  if (name.length > nameCharacters) throw new Error(`partition ${number}: its name is longer than ${nameCharacters}`)
  const entry = table.subarray((number - 1) * entryBytes, number * entryBytes)
  if (entry.readBigUInt64LE(entryFields.type) !== 0n) throw new Error(`partition ${number}: is there twice`)
  return entry
}

interface HeaderContents {
  readonly lastSector: number
  readonly diskGuid: string
  readonly tableDigest: number
}

/** One of both headers, for the sector `own`; its table begins at `tableAt`. */
function headerOf({ lastSector, diskGuid, tableDigest }: HeaderContents, own: number, tableAt: number): Buffer {
  const bytes = Buffer.alloc(sectorBytes)
  bytes.write(headerSignature, headerFields.signature, 'latin1')
  bytes.writeUInt32LE(0x10000, headerFields.revision)
  bytes.writeUInt32LE(headerBytes, headerFields.headerBytes)
  bytes.writeBigUInt64LE(BigInt(own), headerFields.own)
  bytes.writeBigUInt64LE(BigInt(own === 1 ? lastSector : 1), headerFields.other)
  bytes.writeBigUInt64LE(BigInt(2 + tableSectors), headerFields.firstUsable)
  bytes.writeBigUInt64LE(BigInt(lastSector - tableSectors - 1), headerFields.lastUsable)
  guid(diskGuid).copy(bytes, headerFields.diskGuid)
  bytes.writeBigUInt64LE(BigInt(tableAt), headerFields.tableAt)
  bytes.writeUInt32LE(entryCount, headerFields.entryCount)
  bytes.writeUInt32LE(entryBytes, headerFields.entryBytes)
  bytes.writeUInt32LE(tableDigest, headerFields.tableDigest)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, headerBytes)), headerFields.digest)
  return bytes
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
