import { type FileHandle, open } from 'node:fs/promises'
import { dirname, isAbsolute, resolve } from 'node:path'

/** Fields of a qcow2 header (QEMU, docs/interop/qcow2.rst), big-endian. */
const fields = { nameOffset: 8, nameBytes: 16, clusterBits: 20 }
const headerBytes = 24
const mostNameBytes = 1023

/**
 * Has a copy of a qcow2 image, which is now in another folder, find the file that the one at `from` stands on: a name relative to
 * that becomes an absolute one. Throws an Error where there is no room for it.
 */
export async function nameBackingFile(copy: string, from: string): Promise<void> {
  await using file = await open(copy, 'r+')
  const header = await bytesOf(file, 0, headerBytes)
  const offset = Number(header.readBigUInt64BE(fields.nameOffset))
  const length = header.readUInt32BE(fields.nameBytes)
  if (offset === 0 || length === 0 || length > mostNameBytes) return
  const name = (await bytesOf(file, offset, length)).toString()
  if (isAbsolute(name)) return
  const absolute = Buffer.from(resolve(dirname(from), name))
  // The name is the last thing in the first cluster.
  const end = 2 ** header.readUInt32BE(fields.clusterBits)
  const room = await bytesOf(file, offset + length, Math.max(0, absolute.length - length))
  if (absolute.length > mostNameBytes || offset + absolute.length > end || room.some(byte => byte !== 0)) {
    throw new Error(`there is no room in it for ${absolute}, the absolute path of its backing file`)
  }
  await file.write(absolute, 0, absolute.length, offset)
  const newLength = Buffer.alloc(4)
  newLength.writeUInt32BE(absolute.length)
  await file.write(newLength, 0, newLength.length, fields.nameBytes)
}

async function bytesOf(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length)
  if (length > 0) await file.read(bytes, 0, length, position)
  return bytes
}
