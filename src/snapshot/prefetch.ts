import { imagePageBytes, ramBytesOf } from '../memory/ram-image.ts'
import { own } from '../util/own.ts'
import { judged, readListed } from './files.ts'
import type { SnapshotLayer } from './layers.ts'
import { snapshotFiles } from './manifest.ts'

/*
 * memory.prefetch: the pages of a machine in the order in which it touched them first after it was restored on demand;
 * 32-bit little-endian numbers of image pages. Machines restored from the snapshot will likely touch the same.
 */

export function encodePrefetch(pages: Uint32Array): Uint8Array {
  const bytes = Buffer.alloc(pages.length * 4)
  for (const [index, page] of pages.entries()) bytes.writeUInt32LE(page, index * 4)
  return bytes
}

/** Throws TypeError for what is no list of pages of a machine with so many. */
export function decodePrefetch(bytes: Buffer, pages: number): Uint32Array<ArrayBuffer> {
  if (bytes.length % 4 !== 0) throw new TypeError('it is no list of pages')
  const list = Uint32Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readUInt32LE(index * 4))
  const beyond = list.find(page => page >= pages)
  if (beyond !== undefined) throw new TypeError(`page ${beyond} is beyond the memory of the machine`)
  return list
}

/** Of a snapshot that has one. Throws ERR_SNAPSHOT. */
export async function readPrefetch({ path, manifest }: SnapshotLayer): Promise<Uint32Array | undefined> {
  if (own(manifest.files, snapshotFiles.prefetch) === undefined) return undefined
  const bytes = await readListed(path, manifest, snapshotFiles.prefetch)
  const ramBytes = ramBytesOf(manifest.memory.ranges)
  return judged(path, snapshotFiles.prefetch, () => decodePrefetch(bytes, ramBytes / imagePageBytes))
}
