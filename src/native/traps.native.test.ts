import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { op, TinyGuest } from './testing/tiny-guest.native.ts'

const done = 0x40
/** A real-mode segment and the address behind the RAM that it begins at. */
const mmio = { segment: 0xd000, address: 0xd_0000 } as const

test('a port write reaches its handler and a port read gets the answer', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  const seen: number[][] = []
  guest.map('pio', 0x10, {
    sizeBytes: 8,
    read: (offset, width) => {
      seen.push([offset, width])
      return 0xfedc_ba98
    },
    write: (offset, value, width) => seen.push([offset, width, value]),
  })
  guest.addVcpu(op.out8(0x11, 7), op.out32(0x14, 0xffff_fffe), op.in32(0x10), op.outEax(done), op.haltForever)
  guest.run()
  await out.until(1)
  t.deepEqual(out.values, [0xfedc_ba98])
  t.deepEqual(seen, [
    [1, 1, 7],
    [4, 4, 0xffff_fffe],
    [0, 4],
  ])
})

test('only the low bytes of an answer count', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  guest.map('pio', 0x10, { read: () => -2 })
  guest.addVcpu([0x66, 0x31, 0xc0], op.in8(0x10), op.outEax(done), op.haltForever)
  guest.run()
  await out.until(1)
  t.deepEqual(out.values, [0xfe])
})

test('what no window holds reads as ones and ignores writes', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  guest.addVcpu(op.out32(0x70, 1), op.in32(0x70), op.outEax(done), op.haltForever)
  guest.run()
  await out.until(1)
  t.deepEqual(out.values, [0xffff_ffff])
  t.is(guest.vm.exitCounters().unmapped, 2)
})

test('bytes answer reads and take the writable bits of writes without a trap', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  const bytes = Uint8Array.of(0x11, 0x22, 0x33, 0x44)
  const mask = Uint8Array.of(0xff, 0x0f, 0, 0xff)
  guest.map('mmio', mmio.address, {
    bytes,
    spans: [{ offset: 0, lengthBytes: 4, read: 'bytes', write: 'bytes', mask }],
    write: () => t.fail(),
    read: () => t.fail() as never,
  })
  guest.addVcpu(
    op.useSegment(mmio.segment),
    op.load32(0),
    op.outEax(done),
    op.store32(0, 0xaabb_ccdd),
    op.store8(2, 0xff),
    op.load32(0),
    op.outEax(done),
    op.haltForever,
  )
  guest.run()
  await out.until(2)
  t.deepEqual(out.values, [0x4433_2211, 0xaa33_2cdd])
  t.deepEqual([...bytes], [0xdd, 0x2c, 0x33, 0xaa])
  const { bytes: answered, trapped } = guest.vm.exitCounters()
  t.deepEqual({ answered, trapped }, { answered: 4, trapped: 2 })
})

test('what a device writes into its bytes is what the guest reads next', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  const bytes = new Uint8Array(8)
  // A banked register: the write to the selector traps and refreshes the bytes.
  guest.map('pio', 0x10, {
    bytes,
    spans: [
      { offset: 0, lengthBytes: 4, read: 'trap', write: 'trap' },
      { offset: 4, lengthBytes: 4, read: 'bytes', write: 'ignore' },
    ],
    write: (_, value) => new DataView(bytes.buffer).setUint32(4, value * 3, true),
  })
  guest.addVcpu(
    op.out32(0x10, 5),
    op.out32(0x14, 1),
    op.in32(0x14),
    op.outEax(done),
    op.out32(0x10, 7),
    op.in32(0x14),
    op.outEax(done),
    op.haltForever,
  )
  guest.run()
  await out.until(2)
  t.deepEqual(out.values, [15, 21])
})

test('posted writes arrive in order and before the trap that follows them', async t => {
  using guest = new TinyGuest()
  const order: string[] = []
  const out = guest.recordPort(done)
  guest.map('pio', 0x10, {
    spans: [{ offset: 0, lengthBytes: 1, read: 'trap', write: 'post' }],
    write: (_, value) => order.push(`post ${value}`),
  })
  guest.map('pio', 0x20, { write: (_, value) => order.push(`trap ${value}`) })
  const rounds = [1, 2, 3].flatMap(round => [
    ...op.out8(0x10, round),
    ...op.out8(0x10, round + 10),
    ...op.out8(0x20, round),
  ])
  guest.addVcpu(rounds, op.out8(done, 0), op.haltForever)
  guest.run()
  await out.until(1)
  t.deepEqual(
    order,
    [1, 2, 3].flatMap(round => [`post ${round}`, `post ${round + 10}`, `trap ${round}`]),
  )
})

test('a string instruction posts each item, more of them than the ring holds', async t => {
  using guest = new TinyGuest()
  const written: number[] = []
  const out = guest.recordPort(done)
  guest.map('pio', 0x10, {
    spans: [{ offset: 0, lengthBytes: 1, read: 'trap', write: 'post' }],
    write: (_, value) => written.push(value),
  })
  const text = Uint8Array.from({ length: 3000 }, (_, index) => index % 251)
  guest.addVcpu(op.outString(0x10, 0x4000, text.length), op.out8(done, 0), op.haltForever)
  guest.memory.write(0x4000, text)
  guest.run()
  await out.until(1)
  t.deepEqual(Uint8Array.from(written), text)
})

test('a park resolves after everything posted before it was delivered', async t => {
  using guest = new TinyGuest()
  let posted = 0
  guest.map('pio', 0x10, {
    spans: [{ offset: 0, lengthBytes: 1, read: 'trap', write: 'post' }],
    write: () => {
      posted += 1
    },
  })
  const vcpu = guest.addVcpu(op.forever(op.out8(0x10, 1)))
  for (let round = 0; round < 50; round += 1) {
    vcpu.run('vcpu0')
    await sleep(1)
    await vcpu.park()
    const atPark = posted
    t.is(guest.vm.exitCounters().posted, atPark)
    await sleep(0)
    t.is(posted, atPark)
  }
  t.true(posted > 50)
})

test('ten thousand traps each get their own answer', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  let reads = 0
  let isWrong = false
  let expected = 0
  guest.map('pio', 0x10, {
    sizeBytes: 4,
    read: () => {
      expected = Math.imul(++reads, 2_654_435_761) >>> 0
      return expected
    },
    write: (_, value) => {
      isWrong ||= value !== expected
    },
  })
  guest.addVcpu(op.repeat(5000, [...op.in32(0x10), ...op.outEax(0x10)]), op.out8(done, 0), op.haltForever)
  guest.run()
  await out.until(1)
  t.is(reads, 5000)
  t.false(isWrong)
  t.is(guest.vm.exitCounters().trapped, 10_001)
})

test('four vCPUs trap at once', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  const counts = [0, 0, 0, 0]
  guest.map('pio', 0x10, {
    sizeBytes: 4,
    read: offset => {
      counts[offset] = (counts[offset] ?? 0) + 1
      return offset + 1
    },
  })
  for (let index = 0; index < 4; index += 1) {
    // The vCPU goes on only with its own answer: 'cmp al, index + 1' and 'jne' to itself.
    const check = [0x3c, index + 1, 0x75, 0xfe]
    guest.addVcpu(op.repeat(1000, [...op.in8(0x10 + index), ...check]), op.out8(done, index), op.haltForever)
  }
  guest.run()
  await out.until(4)
  t.deepEqual(counts, [1000, 1000, 1000, 1000])
  t.deepEqual(out.values.toSorted(), [0, 1, 2, 3])
})

test('an access across the border of spans is cut there', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  const bytes = Uint8Array.of(0x11, 0x22, 0, 0, 0, 0)
  const seen: number[][] = []
  guest.map('mmio', mmio.address, {
    bytes,
    spans: [
      { offset: 0, lengthBytes: 2, read: 'bytes', write: 'bytes' },
      { offset: 2, lengthBytes: 1, read: 'trap', write: 'trap' },
    ],
    read: (offset, width) => {
      seen.push([offset, width])
      return 0x77
    },
  })
  guest.addVcpu(op.useSegment(mmio.segment), op.load32(0), op.outEax(done), op.haltForever)
  guest.run()
  await out.until(1)
  t.deepEqual(out.values, [0xff77_2211])
  t.deepEqual(seen, [[2, 1]])
})

test('an access across two pages of device memory reaches both', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  const writes: number[][] = []
  guest.map('mmio', mmio.address, {
    sizeBytes: 0x2000,
    read: offset => (offset < 0x1000 ? 0x1111_1111 : 0x2222_2222),
    write: (offset, value, width) => writes.push([offset, width, value]),
  })
  guest.addVcpu(
    op.useSegment(mmio.segment),
    op.load32(0xffe),
    op.outEax(done),
    op.store32(0xffd, 0x4433_2211),
    op.out8(done, 0),
    op.haltForever,
  )
  guest.run()
  await out.until(2)
  t.is(out.values[0], 0x2222_1111)
  t.deepEqual(writes, [
    [0xffd, 2, 0x2211],
    [0xfff, 1, 0x33],
    [0x1000, 1, 0x44],
  ])
})

test('a clock span counts at its rate within its width', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  const clock = { hertz: 3_579_545, bits: 24 }
  const window = guest.map('pio', 0x10, {
    sizeBytes: 4,
    spans: [{ offset: 0, lengthBytes: 4, read: 'clock', write: 'ignore', clock }],
  })
  window.setClockTicks(0xff_ff00n)
  guest.addVcpu(op.in32(0x10), op.outEax(done), op.in32(0x10), op.outEax(done), op.haltForever)
  guest.run()
  await out.until(2)
  const [first = 0, second = 0] = out.values
  t.true(first < 1 << 24 && second < 1 << 24)
  t.true((second - first + (1 << 24)) % (1 << 24) > 0)
  const looks: { readonly before: bigint; readonly ticks: bigint; readonly after: bigint }[] = []
  for (const waitMs of [0, 20]) {
    await sleep(waitMs)
    const before = process.hrtime.bigint()
    const ticks = window.clockTicks()
    looks.push({ before, ticks, after: process.hrtime.bigint() })
  }
  const [start, end] = looks
  if (start === undefined || end === undefined) return t.fail()
  const ticksIn = (ns: bigint) => (ns * BigInt(clock.hertz)) / 1_000_000_000n
  const elapsed = end.ticks - start.ticks
  t.true(elapsed >= ticksIn(end.before - start.after) - 1n, `${elapsed} ticks are too few`)
  t.true(elapsed <= ticksIn(end.after - start.before) + 1n, `${elapsed} ticks are too many`)
})

test('a window answers where it was moved to and nowhere after it was closed', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  const window = guest.map('pio', 0x10, { read: () => 0x5a })
  const read = (port: number) => [...op.in8(port), ...op.outAl(done)]
  guest.map('pio', 0x20, { write: (_, value) => (value === 0 ? window.move(0x18) : window.close()) })
  guest.addVcpu(read(0x10), op.out8(0x20, 0), read(0x10), read(0x18), op.out8(0x20, 1), read(0x18), op.haltForever)
  guest.run()
  await out.until(4)
  t.deepEqual(out.values, [0x5a, 0xff, 0x5a, 0xff])
})

test('spans can change under a running guest', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  const bytes = Uint8Array.of(1)
  const window = guest.map('pio', 0x10, { bytes, read: () => 2 })
  guest.map('pio', 0x20, {
    write: () => window.setSpans([{ offset: 0, lengthBytes: 1, read: 'bytes', write: 'ignore' }]),
  })
  const read = [...op.in8(0x10), ...op.outAl(done)]
  guest.addVcpu(read, op.out8(0x20, 0), read, op.haltForever)
  guest.run()
  await out.until(2)
  t.deepEqual(out.values, [2, 1])
})
