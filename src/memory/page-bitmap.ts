/** Sets of pages in image space (ram-image.ts): a bit a page, little-endian, in whole 64-bit words. */

/** None of so many pages. */
export function noPages(pages: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Math.ceil(pages / 64) * 8)
}

/** All of so many pages. */
export function allPages(pages: number): Uint8Array<ArrayBuffer> {
  const bitmap = noPages(pages)
  bitmap.fill(0xff, 0, pages >> 3)
  if (pages % 8 !== 0) bitmap[pages >> 3] = (1 << (pages % 8)) - 1
  return bitmap
}

export function countPages(bitmap: Uint8Array): number {
  let pages = 0
  // Most of a bitmap is zero, and a machine may stand still for the answer.
  for (const word of wordsOf(bitmap)) if (word !== 0) pages += bitsOf(word)
  return pages
}

/** Both bitmaps as one; they are of the same memory. */
export function union(left: Uint8Array, right: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = Uint8Array.from(left)
  const words = wordsOf(both)
  for (const [index, word] of wordsOf(right).entries()) if (word !== 0) words[index] = (words[index] ?? 0) | word
  return both
}

function wordsOf({ buffer, byteOffset, byteLength }: Uint8Array): Uint32Array {
  const isAligned = byteOffset % 4 === 0 && byteLength % 4 === 0
  if (isAligned) return new Uint32Array(buffer, byteOffset, byteLength / 4)
  const copy = new Uint8Array(Math.ceil(byteLength / 4) * 4)
  copy.set(new Uint8Array(buffer, byteOffset, byteLength))
  return new Uint32Array(copy.buffer)
}

function bitsOf(word: number): number {
  const pairs = word - ((word >>> 1) & 0x5555_5555)
  const fours = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333)
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24
}
