import test from 'ava'
import fc from 'fast-check'
import { findMisplaced, findOverlap, largestFree, type MemoryRange, placeHighest } from './placement.ts'

const range = (guestAddress: number, sizeBytes: number): MemoryRange => ({ guestAddress, sizeBytes })

test('the highest free place below the limit is taken', t => {
  const usable = [range(0x1000, 0x4000), range(0x10000, 0x8000)]
  const place = (sizeBytes: number, limit: number, taken: MemoryRange[] = []) =>
    placeHighest({ sizeBytes, alignmentBytes: 0x1000, limit, usable, taken })
  t.is(place(0x1800, 0x10_0000), 0x16000)
  t.is(place(0x1800, 0x15000), 0x13000)
  t.is(place(0x1800, 0x10_0000, [range(0x14000, 0x4000)]), 0x12000)
  t.is(place(0x1800, 0x10_0000, [range(0x11000, 0x1000), range(0x14000, 0x2800)]), 0x12000)
  t.is(place(0x1800, 0x10_0000, [range(0x10000, 0x8000)]), 0x3000)
  t.is(place(0x9000, 0x10_0000), undefined)
})

test('what is placed is usable, free, aligned and below the limit, and no higher place is', t => {
  const aRange = fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 20 })).map(([at, size]) => range(at, size))
  const ranges = fc.array(aRange, { maxLength: 4 })
  // A memory map: its ranges do not overlap.
  const maps = ranges.map(each =>
    each.filter((one, index) => findOverlap([one, ...each.slice(0, index)]) === undefined),
  )
  const property = fc.property(
    fc.integer({ min: 1, max: 12 }),
    fc.constantFrom(1, 2, 4),
    fc.nat(90),
    maps,
    ranges,
    (sizeBytes, alignmentBytes, limit, usable, taken) => {
      const fits = (address: number) =>
        address % alignmentBytes === 0 &&
        address + sizeBytes <= limit &&
        findMisplaced([range(address, sizeBytes)], usable, taken) === undefined
      const wanted = Array.from({ length: 100 }, (_, address) => address).findLast(fits)
      const memory = { alignmentBytes, limit, usable, taken }
      t.is(placeHighest({ ...memory, sizeBytes }), wanted)
      const room = largestFree(memory)
      t.is(wanted !== undefined, sizeBytes <= room)
    },
  )
  fc.assert(property, { numRuns: 300 })
})

test('overlaps are found whatever the order', t => {
  t.is(findOverlap([range(0, 4), range(4, 4)]), undefined)
  t.deepEqual(findOverlap([range(6, 4), range(0, 8)]), range(6, 4))
  t.deepEqual(findOverlap([range(0, 100), range(10, 5), range(50, 5)]), range(10, 5))
})
