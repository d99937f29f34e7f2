import { zstdCompressSync } from 'node:zlib'
import test from 'ava'
import { decodePages, encodePages } from './missing-pages.ts'

test('pages come back, and what is none of this memory is refused', t => {
  const pages = Uint8Array.of(1, 2, 0, 0, 0, 0, 0, 0)
  t.deepEqual(decodePages(encodePages(pages), 10), pages)
  t.throws(() => decodePages(encodePages(pages), 9), { message: 'a set of pages has more than there are' })
  t.throws(() => decodePages(encodePages(pages), 65), { message: 'a set of pages is of other memory' })
  t.throws(() => decodePages(zstdCompressSync(new Uint8Array(2 ** 20)), 10), { message: /cannot be read/ })
  t.throws(() => decodePages(pages, 10), { instanceOf: TypeError })
  t.notThrows(() => decodePages(encodePages(new Uint8Array(8).fill(0xff)), 64))
})
