import test from 'ava'
import fc from 'fast-check'
import { busContract } from './contract.ts'
import type { RegisterWindow, Span } from './registers.ts'
import { SoftwareBus } from './software-bus.ts'

busContract('software bus', () => {
  const bus = new SoftwareBus()
  return {
    bus,
    read: async (space, address, width) => bus.read(space, address, width),
    write: async (space, address, width, value) => bus.write(space, address, width, value),
    settle: async () => bus.deliverPosted(),
    close: async () => {},
  }
})

function aWindow(spans: readonly Span[], sizeBytes = 8): RegisterWindow {
  return { name: 'window', sizeBytes, bytes: new Uint8Array(sizeBytes), spans, read: () => 0, write: () => {} }
}

test('a clock span counts the injected nanoseconds since the window was mapped, within its width', t => {
  let nowNs = 5_000_000_000n
  const bus = new SoftwareBus({ nowNs: () => nowNs })
  const clock = { hertz: 3_579_545, bits: 24 }
  bus.map('pio', 0x608, aWindow([{ offset: 0, lengthBytes: 4, read: 'clock', write: 'ignore', clock }], 4))
  t.is(bus.read('pio', 0x608, 4), 0)
  nowNs += 1_000_000_000n
  t.is(bus.read('pio', 0x608, 4), 3_579_545)
  nowNs += 10_000_000_000n
  t.is(bus.read('pio', 0x608, 4), (11 * 3_579_545) % 2 ** 24)
  t.is(bus.read('pio', 0x609, 1), ((11 * 3_579_545) >> 8) & 0xff)
})

test('posted writes are delivered at the latest when the running JavaScript ends', async t => {
  const bus = new SoftwareBus()
  const values: number[] = []
  const spans: readonly Span[] = [{ offset: 0, lengthBytes: 8, read: 'trap', write: 'post' }]
  bus.map('pio', 0, { ...aWindow(spans), write: (_offset, _width, value) => values.push(value) })
  bus.write('pio', 0, 1, 1)
  bus.write('pio', 0, 1, 2)
  t.deepEqual(values, [])
  await Promise.resolve()
  t.deepEqual(values, [1, 2])
  t.deepEqual(bus.counters, { bytes: 0, clock: 0, posted: 2, ignored: 0, trapped: 0, unmapped: 0 })
})

test('spans that the vCPU threads would refuse are refused', t => {
  const bus = new SoftwareBus()
  const bytes = { read: 'bytes', write: 'bytes' } as const
  const refused: readonly (readonly Span[])[] = [
    [{ offset: 0, lengthBytes: 0, ...bytes }],
    [{ offset: 4, lengthBytes: 8, ...bytes }],
    [
      { offset: 2, lengthBytes: 2, ...bytes },
      { offset: 0, lengthBytes: 2, ...bytes },
    ],
    [
      { offset: 0, lengthBytes: 3, ...bytes },
      { offset: 2, lengthBytes: 2, ...bytes },
    ],
    [{ offset: 0, lengthBytes: 2, ...bytes, mask: new Uint8Array(1) }],
    [{ offset: 0, lengthBytes: 2, read: 'clock', write: 'ignore' }],
  ]
  for (const spans of refused) t.throws(() => bus.map('pio', 0, aWindow(spans)), { instanceOf: RangeError })
  t.throws(() => bus.map('pio', 0, { ...aWindow([]), sizeBytes: 4 }), { message: 'window: 8 bytes for a window of 4' })
})

test('accesses of any width and place behave as their bytes do', t => {
  const width = fc.constantFrom(1 as const, 2 as const, 4 as const)
  const cuts = fc.uniqueArray(fc.integer({ min: 0, max: 8 }), { maxLength: 5 })
  fc.assert(
    fc.property(cuts, fc.integer({ min: -3, max: 8 }), width, fc.nat(0xffff_ffff), (edges, offset, wide, value) => {
      const sorted = edges.toSorted((a, b) => a - b)
      const spans = sorted.slice(1).map((end, index): Span => {
        const start = sorted[index] ?? 0
        return { offset: start, lengthBytes: end - start, read: 'bytes', write: 'bytes' }
      })
      const base = 0x1000
      const [whole, single] = [aWindow(spans), aWindow(spans)]
      const [wideBus, byteBus] = [new SoftwareBus(), new SoftwareBus()]
      wideBus.map('mmio', base, whole)
      byteBus.map('mmio', base, single)
      wideBus.write('mmio', base + offset, wide, value % 2 ** (8 * wide))
      let expected = 0
      for (let index = 0; index < wide; index += 1) {
        byteBus.write('mmio', base + offset + index, 1, Math.floor(value / 2 ** (8 * index)) % 256)
        expected += byteBus.read('mmio', base + offset + index, 1) * 2 ** (8 * index)
      }
      t.deepEqual(whole.bytes, single.bytes)
      t.is(wideBus.read('mmio', base + offset, wide), expected)
    }),
  )
})

test('a 64-bit access is two of 32 bits, the lower one first', t => {
  const bus = new SoftwareBus()
  const seen: string[] = []
  bus.map('mmio', 0, {
    ...aWindow([{ offset: 0, lengthBytes: 8, read: 'trap', write: 'trap' }]),
    read: offset => (offset === 0 ? 0x9999_9999 : 0x8888_8888),
    write: (offset, width, value) => seen.push(`${offset}/${width}=${value.toString(16)}`),
  })
  t.is(bus.read64('mmio', 0), 0x8888_8888_9999_9999n)
  bus.write64('mmio', 0, 0xffff_eeee_dddd_ccccn)
  t.deepEqual(seen, ['0/4=ddddcccc', '4/4=ffffeeee'])
})
