import test from 'ava'
import fc from 'fast-check'
import { BarAllocator } from './bar-allocator.ts'

test('addresses come from the top, aligned', t => {
  const allocator = new BarAllocator(0x1000_0000, 0x2000_0000)
  t.is(allocator.allocate(0x8_0000, 0x80_0000), 0x1f80_0000)
  t.is(allocator.allocate(0x1000, 0x1000), 0x1f7f_f000)
  t.is(allocator.allocate(0x8_0000, 0x80_0000), 0x1f00_0000)
})

test('the area can be used to its last byte and not beyond', t => {
  const allocator = new BarAllocator(0x1000, 0x3000)
  t.is(allocator.allocate(0x2000, 0x1000), 0x1000)
  const message = 'no device addresses left: 16 bytes wanted'
  t.throws(() => allocator.allocate(16, 16), { code: 'ERR_RESOURCE_EXHAUSTED', message })
})

test('a request that does not fit takes nothing', t => {
  const allocator = new BarAllocator(0x1000, 0x3000)
  t.throws(() => allocator.allocate(0x4000, 0x1000), { code: 'ERR_RESOURCE_EXHAUSTED' })
  t.is(allocator.allocate(0x1000, 0x1000), 0x2000)
})

test('what is handed out is aligned, inside the area and without overlap, also beyond 4 GiB', t => {
  const start = 2 ** 39
  const exponent = fc.integer({ min: 4, max: 30 })
  const holds = fc.property(fc.array(fc.tuple(exponent, exponent), { maxLength: 40 }), requests => {
    const end = start + 2 ** 33
    const allocator = new BarAllocator(start, end)
    let last = end
    for (const [size, alignment] of requests) {
      try {
        const address = allocator.allocate(2 ** size, 2 ** alignment)
        if (address % 2 ** alignment !== 0 || address < start || address + 2 ** size > last) return false
        last = address
      } catch {
        // Only where it is true.
        if (Math.floor((last - 2 ** size) / 2 ** alignment) * 2 ** alignment >= start) return false
      }
    }
    return true
  })
  t.notThrows(() => fc.assert(holds))
})
