import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { reasonOf } from '../util/errors.ts'

/** Sets of pages (page-bitmap.ts) on the wire. */
export function encodePages(bitmap: Uint8Array): Uint8Array<ArrayBuffer> {
  return zstdCompressSync(bitmap)
}

/** Of memory of so many pages. Throws TypeError for what is no such set. */
export function decodePages(bytes: Uint8Array, pages: number): Uint8Array {
  const lengthBytes = Math.ceil(pages / 64) * 8
  let bitmap: Uint8Array
  try {
    bitmap = zstdDecompressSync(bytes, { maxOutputLength: lengthBytes })
  } catch (cause) {
    throw new TypeError(`a set of pages cannot be read: ${reasonOf(cause)}`, { cause })
  }
  if (bitmap.length !== lengthBytes) throw new TypeError('a set of pages is of other memory')
  const beyond = bitmap
    .subarray(pages >> 3)
    .some((byte, index) => (byte & (index === 0 ? 0xff << (pages % 8) : 0xff)) !== 0)
  if (beyond) throw new TypeError('a set of pages has more than there are')
  return new Uint8Array(bitmap.buffer, bitmap.byteOffset, bitmap.length)
}
