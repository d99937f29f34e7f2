import test from 'ava'
import fc from 'fast-check'
import { SoftwareBus } from '../bus/software-bus.ts'
import { AcpiPower } from './acpi-power.ts'

const port = 0x600

function aPowerControl() {
  const events: string[] = []
  const bus = new SoftwareBus()
  bus.map('pio', port, new AcpiPower({ powerOff: () => events.push('off'), reset: () => events.push('reset') }))
  return { bus, events, write: (value: number, offset = 0) => bus.write('pio', port + offset, 1, value) }
}

test('sleep type 5 with the enable bit powers the machine off, the reset value resets it', t => {
  const { events, write } = aPowerControl()
  write((5 << 2) | (1 << 5))
  t.deepEqual(events, ['off'])
  write(1)
  t.deepEqual(events, ['off', 'reset'])
})

test('no other value does anything', t => {
  const isEvent = (value: number) => value === 1 || (value & 0x3c) === 0x34
  const value = fc.integer({ min: 0, max: 0xff }).filter(each => !isEvent(each))
  const { events, write } = aPowerControl()
  t.notThrows(() => fc.assert(fc.property(value, each => write(each))))
  t.deepEqual(events, [])
})

test('the other ports of the block do nothing, and all read as zero', t => {
  const { bus, events, write } = aPowerControl()
  for (let offset = 1; offset < 8; offset += 1) {
    write(1, offset)
    write(0x34, offset)
  }
  write(0x80)
  t.deepEqual(events, [])
  t.deepEqual(
    Array.from({ length: 8 }, (_, offset) => bus.read('pio', port + offset, 1)),
    new Array(8).fill(0),
  )
})
