import test from 'ava'
import fc from 'fast-check'
import { SoftwareBus } from '../bus/software-bus.ts'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { Rtc } from './rtc.ts'

const gibibyte = 1024 ** 3
const timeRegisters = [0x00, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, 0x32]

function aClock(options: { below4GibBytes?: number; above4GibBytes?: number; time?: string } = {}) {
  const bus = new SoftwareBus()
  const clock = { now: new Date(options.time ?? '2026-11-23T17:08:59.900Z'), resets: 0 }
  const rtc = new Rtc({
    below4GibBytes: options.below4GibBytes ?? gibibyte,
    above4GibBytes: options.above4GibBytes ?? 0,
    onReset: () => {
      clock.resets += 1
    },
    now: () => clock.now,
  })
  bus.map('pio', 0x70, rtc)
  const write = (index: number, value: number) => {
    bus.write('pio', 0x70, 1, index)
    bus.write('pio', 0x71, 1, value)
  }
  const read = (index: number) => {
    bus.write('pio', 0x70, 1, index)
    return bus.read('pio', 0x71, 1)
  }
  return { bus, clock, rtc, read, write, readTime: () => timeRegisters.map(read) }
}

test('the time is the host’s in UTC, as BCD with 24 hours', t => {
  const { readTime } = aClock()
  t.deepEqual(readTime(), [0x59, 0x08, 0x17, 0x02, 0x23, 0x11, 0x26, 0x20])
})

test('a guest may ask for binary values and for 12 hours', t => {
  const { readTime, write, read, clock } = aClock()
  write(0x0b, 0x06)
  t.deepEqual(readTime(), [59, 8, 17, 2, 23, 11, 26, 20])
  write(0x0b, 0x00)
  const hours = ['00', '01', '11', '12', '13', '23'].map(hour => {
    clock.now = new Date(`2026-11-23T${hour}:00:00Z`)
    return read(0x04)
  })
  t.deepEqual(hours, [0x12, 0x01, 0x11, 0x92, 0x81, 0x91])
})

test('no update is ever in progress, and what is read after that belongs together', t => {
  const { read, clock } = aClock({ time: '2026-12-31T23:59:59.999Z' })
  t.is(read(0x0a), 0x26)
  t.is(read(0x00), 0x59)
  clock.now = new Date('2027-01-01T00:00:00.001Z')
  t.deepEqual([0x02, 0x04, 0x07, 0x08, 0x09].map(read), [0x59, 0x23, 0x31, 0x12, 0x26])
  clock.now = new Date('2027-01-01T00:00:00.009Z')
  t.deepEqual([0x00, 0x02, 0x04, 0x07, 0x08, 0x09].map(read), [0, 0, 0, 0x01, 0x01, 0x27])
})

test('a clock of the host that jumps back is followed at once', t => {
  const { read, clock } = aClock({ time: '2026-11-23T12:00:05Z' })
  read(0x0a)
  clock.now = new Date('2026-11-23T11:59:00Z')
  t.deepEqual([0x00, 0x02, 0x04].map(read), [0x00, 0x59, 0x11])
})

test('control registers keep what is written, but for bits of the chip’s own', t => {
  const { read, write } = aClock()
  t.deepEqual([0x0a, 0x0b, 0x0c, 0x0d].map(read), [0x26, 0x02, 0, 0x80])
  for (const index of [0x0a, 0x0b, 0x0c, 0x0d]) write(index, 0xff)
  t.deepEqual([0x0a, 0x0b, 0x0c, 0x0d].map(read), [0x7f, 0xff, 0, 0x80])
})

test('the time cannot be set', t => {
  const { readTime, write } = aClock()
  const before = readTime()
  for (const index of timeRegisters) write(index, 0)
  t.deepEqual(readTime(), before)
})

test('the rest is memory; the NMI bit of the index reads back and selects nothing', t => {
  const { bus, read, write } = aClock()
  write(0x80 | 0x40, 0x5a)
  t.is(bus.read('pio', 0x70, 1), 0xc0)
  t.is(read(0x40), 0x5a)
  t.is(read(0xc0), 0x5a)
})

test('selecting a register costs no trap', t => {
  const { bus } = aClock()
  bus.write('pio', 0x70, 1, 0x0d)
  bus.read('pio', 0x70, 1)
  t.is(bus.counters.trapped, 0)
})

test('firmware finds the memory size', t => {
  const sizes = ({ read }: { read: (index: number) => number }) => ({
    above16Mib: (read(0x34) | (read(0x35) << 8)) * 65536,
    above4Gib: (read(0x5b) | (read(0x5c) << 8) | (read(0x5d) << 16)) * 65536,
  })
  t.deepEqual(sizes(aClock({ below4GibBytes: 3 * gibibyte, above4GibBytes: 5 * gibibyte })), {
    above16Mib: 3 * gibibyte - 16 * 1024 ** 2,
    above4Gib: 5 * gibibyte,
  })
  t.deepEqual(sizes(aClock({ below4GibBytes: 8 * 1024 ** 2 })), { above16Mib: 0, above4Gib: 0 })
  // The most the bytes can say is one unit less than 1 TiB.
  t.is(sizes(aClock({ above4GibBytes: 2048 * gibibyte })).above4Gib, 0xff_ffff * 65536)
})

test('a zero in the shutdown status with NMIs off resets the machine, nothing like it does', t => {
  const { clock, write, read } = aClock()
  write(0x0f, 0)
  write(0x8f, 0x0a)
  write(0x8e, 0)
  t.is(clock.resets, 0)
  t.is(read(0x0f), 0x0a)
  write(0x8f, 0)
  t.is(clock.resets, 1)
})

test('reset is power-on', async t => {
  const { rtc, bus, read, write } = aClock()
  write(0x0b, 0)
  write(0x34, 0)
  write(0x40, 1)
  await rtc.pause()
  rtc.reset()
  rtc.resume()
  t.is(bus.read('pio', 0x70, 1), 0)
  t.deepEqual([0x0b, 0x40].map(read), [0x02, 0])
  t.not(read(0x34) | read(0x35), 0)
})

test('any moment reads back as itself', t => {
  const years = { min: new Date('2000-01-01T00:00:00Z'), max: new Date('2099-12-31T23:59:59Z'), noInvalidDate: true }
  fc.assert(
    fc.property(fc.date(years), date => {
      const { read, clock } = aClock()
      clock.now = date
      const value = (index: number) => (read(index) >> 4) * 10 + (read(index) & 0xf)
      const [second, minute, hour, day, month, year, century] = [0, 2, 4, 7, 8, 9, 0x32].map(value)
      const time = Date.UTC((century ?? 0) * 100 + (year ?? 0), (month ?? 0) - 1, day, hour, minute, second)
      t.is(time, Math.floor(date.getTime() / 1000) * 1000)
      t.is(value(6), date.getUTCDay() + 1)
    }),
  )
})

test('index and CMOS travel', async t => {
  const { rtc, write } = aClock()
  write(0x20, 0x5a)
  await rtc.pause()
  const other = aClock()
  moveState(rtc, other.rtc)
  t.is(other.bus.read('pio', 0x71, 1), 0x5a)
  holdsItsState(t, rtc)
})
