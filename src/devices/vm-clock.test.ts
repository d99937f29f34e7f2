import test from 'ava'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { VmClock, vmClockLayout } from './vm-clock.ts'

function aClock() {
  const written: Uint8Array[] = []
  let notified = 0
  const clock = new VmClock({
    write: bytes => written.push(bytes),
    notify: () => {
      // Told of what is there already.
      notified += Number(written.length > notified)
    },
  })
  const last = (name: Parameters<typeof vmClockLayout.read>[1]) =>
    vmClockLayout.read(written.at(-1) ?? new Uint8Array(), name)
  return { clock, written, last, notified: () => notified }
}

test('the structure is the one of the specification, and claims no time', t => {
  const { clock, written } = aClock()
  clock.place()
  const bytes = Buffer.from(written[0] ?? [])
  t.is(bytes.length, 112)
  t.is(bytes.toString('latin1', 0, 4), 'VCLK')
  t.is(bytes.readUInt32LE(4), 4096)
  t.is(bytes.readUInt16LE(8), 1)
  t.is(bytes[10], 0xff, 'no counter')
  t.is(bytes.readBigUInt64LE(24), 0x300n, 'generation counter and notifications')
  t.true(bytes.subarray(32).every(byte => byte === 0))
})

test('a disruption changes the marker, a new generation also its counter; the sequence count stays even', t => {
  const { clock, last, notified } = aClock()
  clock.disrupt({ isNewGeneration: false })
  t.deepEqual([last('sequenceCount'), last('disruptionMarker'), last('generation')], [2n, 1n, 0n])
  clock.disrupt({ isNewGeneration: true })
  t.deepEqual([last('sequenceCount'), last('disruptionMarker'), last('generation')], [4n, 2n, 1n])
  t.is(notified(), 2)
})

test('it travels, and counts on from there', async t => {
  const [one, other] = [aClock(), aClock()]
  one.clock.disrupt({ isNewGeneration: true })
  await one.clock.pause()
  moveState(one.clock, other.clock)
  t.is(other.written.length, 0)
  other.clock.disrupt({ isNewGeneration: true })
  t.deepEqual([other.last('sequenceCount'), other.last('generation')], [4n, 2n])
  holdsItsState(t, one.clock)
})

test('counts wrap around', t => {
  const { clock, last } = aClock()
  const { state } = clock
  if (state.kind !== 'saved') return t.fail()
  const most = 2n ** 64n - 1n
  const record = state.part.schema.encode({ updates: 0x7fff_ffff, disruptionMarker: most, generation: most })
  state.part.load(state.part.schema.decode(record))
  clock.disrupt({ isNewGeneration: true })
  t.deepEqual([last('sequenceCount'), last('disruptionMarker'), last('generation')], [0n, 0n, 0n])
})

test('a reset and a reboot change nothing', async t => {
  const { clock, last } = aClock()
  clock.disrupt({ isNewGeneration: true })
  await clock.pause()
  clock.reset()
  clock.place()
  clock.resume()
  t.is(last('generation'), 1n)
  await clock.close()
})
