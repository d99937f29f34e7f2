import test from 'ava'
import { SoftwareBus } from '../bus/software-bus.ts'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { AcpiPmTimer } from './acpi-pm-timer.ts'

const port = 0x608

function aTimer() {
  const clock = { nowNs: 0n }
  const bus = new SoftwareBus({ nowNs: () => clock.nowNs })
  const timer = new AcpiPmTimer()
  timer.mappedAt(bus.map('pio', port, timer))
  return { timer, clock, bus, read: () => bus.read('pio', port, 4) }
}

test('the timer counts 3.579545 million ticks a second, without asking the device', t => {
  const { clock, bus, read } = aTimer()
  t.is(read(), 0)
  clock.nowNs = 1_000_000_000n
  t.is(read(), 3_579_545)
  bus.write('pio', port, 4, 0)
  t.is(read(), 3_579_545)
  t.is(bus.counters.trapped, 0)
})

test('the timer has 32 bits and begins again', t => {
  const { clock, read } = aTimer()
  clock.nowNs = BigInt(Math.ceil((2 ** 32 / 3_579_545) * 1e9))
  t.true(read() < 10)
})

test('the timer stands still while the machine is paused, and goes on in another one', async t => {
  const { timer, clock, read } = aTimer()
  clock.nowNs = 1_000_000_000n
  await timer.pause()
  clock.nowNs = 5_000_000_000n
  await timer.pause()
  const other = aTimer()
  moveState(timer, other.timer)
  timer.resume()
  t.is(read(), 3_579_545)
  other.clock.nowNs = 100n
  other.timer.resume()
  other.clock.nowNs = 2_000_000_100n
  t.is(other.read(), 3 * 3_579_545)
  holdsItsState(t, timer)
})
