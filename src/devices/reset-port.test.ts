import test from 'ava'
import { SoftwareBus } from '../bus/software-bus.ts'
import { ResetPort } from './reset-port.ts'

function aPort() {
  const bus = new SoftwareBus()
  const events = { resets: 0 }
  bus.map(
    'pio',
    0x61,
    new ResetPort(() => {
      events.resets += 1
    }),
  )
  return { bus, events }
}

test('the reset command resets the machine, no other command does', t => {
  const { bus, events } = aPort()
  for (let command = 0; command < 0xfe; command += 1) bus.write('pio', 0x64, 1, command)
  bus.write('pio', 0x64, 1, 0xff)
  t.is(events.resets, 0)
  bus.write('pio', 0x64, 1, 0xfe)
  t.is(events.resets, 1)
})

test('only the command port takes the command', t => {
  const { bus, events } = aPort()
  for (const port of [0x61, 0x62, 0x63]) bus.write('pio', port, 1, 0xfe)
  t.is(events.resets, 0)
  t.is(bus.counters.trapped, 0)
})

test('the controller is never busy, and reads cost no trap', t => {
  const { bus } = aPort()
  t.deepEqual(
    [0x61, 0x62, 0x63, 0x64].map(port => bus.read('pio', port, 1)),
    [0x20, 0, 0, 0],
  )
  t.is(bus.counters.trapped, 0)
})
