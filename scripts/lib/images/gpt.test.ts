import { crc32 } from 'node:zlib'
import test from 'ava'
import { layOutDisk, type PartitionRequest } from './gpt.ts'
import { sectorBytes } from './gpt-format.ts'

const mebibyte = 1024 * 1024
const requests: readonly PartitionRequest[] = [
  { number: 15, type: 'uefi', name: 'ESP', sizeBytes: 3 * mebibyte + 1 },
  { number: 1, type: 'linux', name: 'root', sizeBytes: 8 * mebibyte },
]

function headerAt(bytes: Buffer) {
  const checked = Buffer.from(bytes.subarray(0, 92))
  checked.writeUInt32LE(0, 16)
  return {
    ...{ signature: bytes.toString('latin1', 0, 8), isSound: crc32(checked) === bytes.readUInt32LE(16) },
    ...{ own: Number(bytes.readBigUInt64LE(24)), other: Number(bytes.readBigUInt64LE(32)) },
    ...{ first: Number(bytes.readBigUInt64LE(40)), last: Number(bytes.readBigUInt64LE(48)) },
    ...{ table: Number(bytes.readBigUInt64LE(72)), tableDigest: bytes.readUInt32LE(88) },
  }
}

test('both headers are sound, name each other and their tables', t => {
  const { head, tail, sizeBytes } = layOutDisk(requests)
  const lastSector = sizeBytes / sectorBytes - 1
  t.is(head.length, 34 * sectorBytes)
  t.is(tail.length, 33 * sectorBytes)
  const first = headerAt(Buffer.from(head.subarray(sectorBytes)))
  const second = headerAt(Buffer.from(tail.subarray(-sectorBytes)))
  const table = Buffer.from(head.subarray(2 * sectorBytes))
  t.deepEqual(table, Buffer.from(tail.subarray(0, -sectorBytes)))
  const common = { signature: 'EFI PART', isSound: true, first: 34, last: lastSector - 33, tableDigest: crc32(table) }
  t.deepEqual(first, { ...common, own: 1, other: lastSector, table: 2 })
  t.deepEqual(second, { ...common, own: lastSector, other: 1, table: lastSector - 32 })
})

test('partitions lie one after the other on whole MiB, under their numbers', t => {
  const { head, offsets, sizeBytes } = layOutDisk(requests)
  t.deepEqual(offsets, [mebibyte, 5 * mebibyte])
  t.is(sizeBytes, 14 * mebibyte)
  const entry = (number: number) => {
    const at = 2 * sectorBytes + (number - 1) * 128
    const bytes = Buffer.from(head.subarray(at, at + 128))
    const sector = (offset: number) => Number(bytes.readBigUInt64LE(offset))
    return { type: bytes.toString('hex', 0, 16), range: [sector(32), sector(40)], name: bytes.toString('utf16le', 56) }
  }
  const esp = entry(15)
  t.is(esp.type, '28732ac11ff8d211ba4b00a0c93ec93b', 'the bytes of c12a7328-f81f-11d2-ba4b-00a0c93ec93b on a disk')
  t.deepEqual(esp.range, [2048, 2048 + 6144])
  t.is(esp.name.replaceAll('\0', ''), 'ESP')
  t.deepEqual(entry(1).range, [10240, 10240 + 16383])
  t.deepEqual(entry(2).range, [0, 0])
})

test('the protective MBR covers the disk', t => {
  const { head, sizeBytes } = layOutDisk(requests)
  const bytes = Buffer.from(head)
  t.is(bytes.readUInt8(450), 0xee)
  t.deepEqual([bytes.readUInt32LE(454), bytes.readUInt32LE(458)], [1, sizeBytes / sectorBytes - 1])
  t.is(bytes.readUInt16LE(510), 0xaa55)
})

test('the same disk has the same GUIDs, another one has others', t => {
  t.deepEqual(layOutDisk(requests), layOutDisk(requests))
  const other = layOutDisk(requests.map(request => ({ ...request, name: 'other' })))
  const diskGuid = (head: Uint8Array) => Buffer.from(head).toString('hex', sectorBytes + 56, sectorBytes + 72)
  t.not(diskGuid(other.head), diskGuid(layOutDisk(requests).head))
})

test('what makes no sense is refused', t => {
  const root: PartitionRequest = { number: 1, type: 'linux', name: 'root', sizeBytes: mebibyte }
  t.throws(() => layOutDisk([root, root]), { message: 'partition 1: is there twice' })
  for (const number of [0, 129, 1.5]) t.throws(() => layOutDisk([{ ...root, number }]), { message: /no number/ })
  t.throws(() => layOutDisk([{ ...root, sizeBytes: 0 }]), { message: /is empty/ })
  t.throws(() => layOutDisk([{ ...root, name: 'x'.repeat(37) }]), { message: /longer than 36/ })
})
