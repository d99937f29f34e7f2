import test from 'ava'
import { op, TinyGuest } from '../../src/native/testing/tiny-guest.native.ts'
import { timedLoop } from './exit-loop.ts'

const port = 0x10
const done = 0x40
const samplesAt = 0x3000

for (const pauseTicks of [0, 100_000]) {
  test(`the loop makes every access and notes a time for each, with a pause of ${pauseTicks} ticks`, async t => {
    using guest = new TinyGuest()
    const finished = guest.recordPort(done)
    let accesses = 0
    guest.map('pio', port, {
      read: () => {
        accesses += 1
        return 0
      },
    })
    const loop = timedLoop({ count: 10, access: op.in8(port), samplesAt, pauseTicks, segment: 0xd000 })
    guest.addVcpu(loop, op.outAl(done), op.haltForever)
    guest.run()
    await finished.until(1)
    t.is(accesses, 10)
    const ticks = new Uint32Array(guest.memory.read(samplesAt, 11 * Uint32Array.BYTES_PER_ELEMENT).buffer)
    t.true(ticks.subarray(0, 10).every(each => each > 0))
    t.is(ticks[10], 0)
  })
}
