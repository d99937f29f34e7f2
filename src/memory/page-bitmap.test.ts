import test from 'ava'
import fc from 'fast-check'
import { allPages, countPages, union } from './page-bitmap.ts'

const bitmap = fc
  .array(fc.oneof(fc.constant(0), fc.nat(255)), { minLength: 0, maxLength: 64 })
  .map(bytes => Uint8Array.from([...bytes, ...new Array((8 - (bytes.length % 8)) % 8).fill(0)]))

const bits = (bytes: Uint8Array) => [...bytes].flatMap(byte => Array.from({ length: 8 }, (_, bit) => (byte >> bit) & 1))

test('pages are counted, wherever the bitmap lies', t => {
  fc.assert(
    fc.property(bitmap, fc.nat(3), (bytes, shift) => {
      const moved = new Uint8Array(bytes.length + shift)
      moved.set(bytes, shift)
      const count = bits(bytes).filter(bit => bit === 1).length
      t.is(countPages(bytes), count)
      t.is(countPages(moved.subarray(shift)), count)
    }),
  )
})

test('a union has what either has, and leaves both as they were', t => {
  fc.assert(
    fc.property(bitmap, bitmap, (one, other) => {
      const length = Math.min(one.length, other.length)
      const [left, right] = [one.slice(0, length), other.slice(0, length)]
      const before = Uint8Array.from(left)
      t.deepEqual(
        bits(union(left, right)),
        bits(left).map((bit, index) => bit | (bits(right)[index] ?? 0)),
      )
      t.deepEqual(left, before)
    }),
  )
})

test('all pages are as many as there are', t => {
  for (const pages of [0, 1, 7, 8, 63, 64, 65, 1000]) {
    t.is(countPages(allPages(pages)), pages)
    t.is(allPages(pages).length % 8, 0)
  }
})
