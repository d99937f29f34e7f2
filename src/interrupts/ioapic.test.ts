import test from 'ava'
import fc from 'fast-check'
import { SoftwareBus } from '../bus/software-bus.ts'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { Ioapic, messageOf } from './ioapic.ts'
import { InterruptRoutes } from './routes.ts'
import { FakeGateway } from './testing/fake-gateway.ts'

const base = 0xfec0_0000
const masked = 0x1_0000
const level = 0x8000
const remoteIrr = 0x4000

function aMachine() {
  const gateway = new FakeGateway()
  const routes = new InterruptRoutes(gateway, 24)
  const ioapic = new Ioapic(Array.from({ length: 24 }, (_, pin) => routes.open(pin)))
  const bus = new SoftwareBus()
  bus.map('mmio', base, ioapic)
  const write = (index: number, value: number) => {
    bus.write('mmio', base, 4, index)
    bus.write('mmio', base + 0x10, 4, value)
  }
  const read = (index: number) => {
    bus.write('mmio', base, 4, index)
    return bus.read('mmio', base + 0x10, 4)
  }
  return {
    ...{ gateway, routes, ioapic, bus, write, read },
    program: (pin: number, low: number, high = 0) => {
      write(0x11 + 2 * pin, high)
      write(0x10 + 2 * pin, low)
    },
    low: (pin: number) => read(0x10 + 2 * pin),
    /** Data of the messages that were delivered since the last call. */
    vectors: () => gateway.take().map(({ data }) => data & 0xff),
  }
}

test('at power-on all pins are masked edges, and the version names 24 of them', t => {
  const { read, gateway } = aMachine()
  t.is(read(0), 0)
  t.is(read(1), 0x0017_0011)
  t.is(read(2), 0)
  for (let pin = 0; pin < 24; pin += 1) {
    t.is(read(0x10 + 2 * pin), masked)
    t.is(read(0x11 + 2 * pin), 0)
  }
  t.is(gateway.tableWrites, 0)
})

test('the id has four bits and is the arbitration id too', t => {
  const { read, write } = aMachine()
  write(0, 0xffff_ffff)
  t.is(read(0), 0x0f00_0000)
  write(2, 0)
  t.is(read(2), 0x0f00_0000)
})

test('registers that are not there read as zero and take nothing', t => {
  const { read, write } = aMachine()
  for (const index of [3, 0x0f, 0x40, 0xff]) {
    write(index, 0xffff_ffff)
    t.is(read(index), 0)
  }
  write(1, 0)
  t.is(read(1), 0x0017_0011)
})

test('the select register keeps its low byte; the data window takes words alone, and only changes cost a trap', t => {
  const { bus, low } = aMachine()
  bus.write('mmio', base, 4, 0xffff_ff10)
  t.is(bus.read('mmio', base, 4), 0x10)
  bus.write('mmio', base + 0x10, 1, 0x55)
  bus.write('mmio', base + 0x10, 2, 0x5555)
  t.is(bus.read('mmio', base + 0x10, 2), 0)
  bus.write('mmio', base + 0x10, 4, masked | 0x4000)
  t.is(low(0), masked)
  t.is(bus.counters.trapped, 0)
  bus.write('mmio', base + 0x10, 4, 0x30)
  t.is(bus.read('mmio', base + 0x10, 4), 0x30)
  t.is(bus.counters.trapped, 1)
})

test('delivery status and remote IRR cannot be written, nor reserved bits', t => {
  const { program, low, read } = aMachine()
  program(3, 0xffff_ffff, 0xffff_ffff)
  t.is(low(3), 0x1_afff)
  t.is(read(0x17), 0xffff_0000)
})

test('an edge is delivered as the entry says', t => {
  const { ioapic, program, gateway } = aMachine()
  program(4, 0x0931, 0x0200_0000)
  ioapic.line(4).pulse()
  t.deepEqual(gateway.take(), [{ addressLow: 0xfee0_2004, addressHigh: 0, data: 0x131 }])
  ioapic.line(4).eventFd.signal()
  t.is(gateway.take().length, 1)
})

test('a rising level on an edge-triggered pin is one edge', t => {
  const { ioapic, program, vectors } = aMachine()
  const line = ioapic.line(4)
  program(4, 0x31)
  line.setLevel(true)
  line.setLevel(true)
  t.deepEqual(vectors(), [0x31])
  line.setLevel(false)
  t.deepEqual(vectors(), [])
  line.setLevel(true)
  t.deepEqual(vectors(), [0x31])
})

test('edges on a masked pin are one interrupt when it is unmasked', t => {
  const { ioapic, program, vectors } = aMachine()
  ioapic.line(4).pulse()
  ioapic.line(4).pulse()
  t.deepEqual(vectors(), [])
  program(4, 0x31)
  t.deepEqual(vectors(), [0x31])
  program(4, 0x31 | masked)
  program(4, 0x31)
  t.deepEqual(vectors(), [])
})

test('a level-triggered pin fires once until its end, and again while it is asserted', t => {
  const { ioapic, program, low, vectors, gateway } = aMachine()
  const line = ioapic.line(9)
  program(9, 0x42 | level)
  line.setLevel(true)
  t.is(gateway.delivered[0]?.data, 0xc042)
  t.deepEqual(vectors(), [0x42])
  t.is(low(9), 0x42 | level | remoteIrr)
  line.setLevel(false)
  line.setLevel(true)
  t.deepEqual(vectors(), [])
  ioapic.endOfInterrupt(0x41)
  t.deepEqual(vectors(), [])
  ioapic.endOfInterrupt(0x42)
  t.deepEqual(vectors(), [0x42])
  line.setLevel(false)
  ioapic.endOfInterrupt(0x42)
  t.deepEqual(vectors(), [])
  t.is(low(9), 0x42 | level)
})

test('pins that share a vector end together', t => {
  const { ioapic, program, low, vectors } = aMachine()
  for (const pin of [9, 10]) {
    program(pin, 0x42 | level)
    ioapic.line(pin).setLevel(true)
  }
  ioapic.line(9).setLevel(false)
  t.deepEqual(vectors(), [0x42, 0x42])
  ioapic.endOfInterrupt(0x42)
  t.deepEqual(vectors(), [0x42])
  t.is(low(9) & remoteIrr, 0)
  t.is(low(10) & remoteIrr, remoteIrr)
})

test('a level that changes on a masked pin counts when it is unmasked', t => {
  const { ioapic, program, vectors, low } = aMachine()
  const line = ioapic.line(9)
  program(9, 0x42 | level | masked)
  line.setLevel(true)
  line.setLevel(false)
  program(9, 0x42 | level)
  t.deepEqual(vectors(), [])
  program(9, 0x42 | level | masked)
  line.setLevel(true)
  t.is(low(9) & remoteIrr, 0)
  program(9, 0x42 | level)
  t.deepEqual(vectors(), [0x42])
})

test('an interrupt may end while its pin is masked', t => {
  const { ioapic, program, vectors, gateway } = aMachine()
  const line = ioapic.line(9)
  program(9, 0x42 | level)
  line.setLevel(true)
  program(9, 0x42 | level | masked)
  ioapic.endOfInterrupt(0x42)
  t.deepEqual(vectors(), [0x42])
  // KVM goes on reporting the end of what is in its table.
  t.is(gateway.table.find(({ gsi }) => gsi === 9)?.data, 0xc042)
  program(9, 0x42 | level)
  t.deepEqual(vectors(), [0x42])
})

test('a turn to edge and back clears remote IRR', t => {
  const { ioapic, program, vectors, low } = aMachine()
  ioapic.line(9).setLevel(true)
  program(9, 0x42 | level)
  t.deepEqual(vectors(), [0x42])
  program(9, 0x42 | masked)
  t.is(low(9) & remoteIrr, 0)
  program(9, 0x42 | level)
  t.deepEqual(vectors(), [0x42])
})

test('edges kept while masked are gone when the pin turns level-triggered', t => {
  const { ioapic, program, vectors } = aMachine()
  ioapic.line(9).pulse()
  program(9, 0x42 | level)
  t.deepEqual(vectors(), [])
})

test('what the guest cannot end does not wait for an end', t => {
  const { ioapic, program, low } = aMachine()
  const nonMaskable = 0x400
  program(9, nonMaskable | level)
  ioapic.line(9).setLevel(true)
  t.is(low(9) & remoteIrr, 0)
})

test('reset masks and forgets all but what devices assert', t => {
  const { ioapic, program, vectors, read, gateway, bus } = aMachine()
  program(4, 0x31)
  program(9, 0x42 | level)
  program(5, 0x33 | masked)
  ioapic.line(5).pulse()
  ioapic.line(9).setLevel(true)
  vectors()
  ioapic.reset()
  t.is(gateway.attached.size, 0)
  t.is(bus.read('mmio', base, 4), 0)
  for (const pin of [4, 5, 9]) {
    t.is(read(0x10 + 2 * pin), masked)
    t.is(read(0x11 + 2 * pin), 0)
  }
  program(5, 0x33)
  t.deepEqual(vectors(), [])
  program(9, 0x43 | level)
  t.deepEqual(vectors(), [0x43])
})

test('reprogramming a pin as it was costs no table write', t => {
  const { program, gateway } = aMachine()
  program(4, 0x31)
  t.is(gateway.tableWrites, 1)
  program(4, 0x31 | masked)
  program(4, 0x31)
  t.is(gateway.tableWrites, 1)
})

test('close closes every route, and there is no pin 24', async t => {
  const { ioapic, gateway } = aMachine()
  t.throws(() => ioapic.line(24), { instanceOf: RangeError, message: 'no pin 24' })
  await ioapic.close()
  await ioapic.close()
  t.true(gateway.eventFds.every(({ isClosed }) => isClosed))
})

test('a message says all that its redirection entry does', t => {
  const bits = (count: number) => fc.nat(2 ** count - 1)
  const fields = fc.record({
    ...{ vector: bits(8), deliveryMode: bits(3), destinationMode: bits(1), trigger: bits(1) },
    ...{ destination: bits(8), extended: bits(8), noise: bits(2) },
  })
  fc.assert(
    fc.property(fields, ({ noise, ...entry }) => {
      const low =
        entry.vector |
        (entry.deliveryMode << 8) |
        (entry.destinationMode << 11) |
        // Polarity and delivery status say nothing about the message.
        ((noise & 1) << 12) |
        ((noise >> 1) << 13) |
        (entry.trigger << 15)
      const { addressLow, data } = messageOf(low, ((entry.destination << 24) | (entry.extended << 16)) >>> 0)
      t.is(addressLow >>> 20, 0xfee)
      // Intel SDM Vol. 3A §11.11.1 and §11.11.2.
      t.deepEqual(
        {
          vector: data & 0xff,
          deliveryMode: (data >> 8) & 7,
          destinationMode: (addressLow >> 2) & 1,
          trigger: (data >> 15) & 1,
          destination: (addressLow >> 12) & 0xff,
          extended: (addressLow >> 4) & 0xff,
        },
        entry,
      )
      t.is((data >> 14) & 1, entry.trigger)
      t.is(data >> 16, 0)
    }),
  )
})

test('a controller goes on in another machine: entries, levels, and edges that came while masked', async t => {
  const { ioapic, routes, program } = aMachine()
  program(3, 0x31 | level)
  ioapic.line(3).setLevel(true)
  program(4, 0x41)
  ioapic.line(5).pulse()
  await ioapic.pause()
  await routes.pause()
  const other = aMachine()
  await other.ioapic.pause()
  await other.routes.pause()
  moveState(ioapic, other.ioapic)
  t.deepEqual(other.vectors(), [])
  other.routes.resume()
  other.ioapic.resume()
  t.is(other.low(3), 0x31 | level | remoteIrr)
  t.deepEqual(other.vectors(), [], 'what was delivered already is not delivered again')
  other.ioapic.endOfInterrupt(0x31)
  t.deepEqual(other.vectors(), [0x31], 'the level is still there')
  other.ioapic.line(4).pulse()
  t.deepEqual(other.vectors(), [0x41])
  other.program(5, 0x51)
  t.deepEqual(other.vectors(), [0x51], 'the edge that came while the pin was masked')
})

test('whatever its state, a controller keeps it', async t => {
  const { ioapic, routes } = aMachine()
  await routes.pause()
  holdsItsState(t, ioapic)
})

test('a controller with another number of pins is refused', t => {
  const { ioapic } = aMachine()
  const small = new Ioapic([new InterruptRoutes(new FakeGateway(), 24).open(0)])
  const message = '__ioapic: it was saved with 24 pins and has 1'
  t.throws(() => moveState(ioapic, small), { code: 'ERR_STATE_INVALID', message })
})
