import test from 'ava'
import { SoftwareBus } from '../bus/software-bus.ts'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { AcpiGed } from './acpi-ged.ts'

const address = 0x3fff_fff0_0000

function aGed() {
  const line = {
    pulses: 0,
    pulse: () => {
      line.pulses += 1
    },
    setLevel: () => {},
  }
  const bus = new SoftwareBus()
  const ged = new AcpiGed(line)
  bus.map('mmio', address, ged)
  return { ged, line, read: () => bus.read('mmio', address, 1), write: () => bus.write('mmio', address, 1, 0xff) }
}

test('an event interrupts the guest, which reads what has happened once', t => {
  const { ged, line, read } = aGed()
  t.is(read(), 0)
  ged.notify('powerButton')
  t.is(line.pulses, 1)
  t.is(read(), 8)
  t.is(read(), 0)
})

test('events have the bits of Cloud Hypervisor and are collected until they are read', t => {
  const { ged, read } = aGed()
  for (const event of ['cpus', 'memory', 'pci', 'pci'] as const) ged.notify(event)
  t.is(read(), 1 | 2 | 4)
})

test('the guest cannot make events up', t => {
  const { read, write } = aGed()
  write()
  t.is(read(), 0)
})

test('an event that was not read before a pause is told again', async t => {
  const { ged, line, read } = aGed()
  ged.resume()
  t.is(line.pulses, 0)
  ged.notify('memory')
  await ged.pause()
  ged.resume()
  t.is(line.pulses, 2)
  t.is(read(), 2)
})

test('a reset forgets what was not read', async t => {
  const { ged, read } = aGed()
  ged.notify('powerButton')
  await ged.pause()
  ged.reset()
  t.is(read(), 0)
  await ged.close()
})

test('what the guest has not read yet travels, and is told again', async t => {
  const { ged } = aGed()
  ged.notify('memory')
  await ged.pause()
  const other = aGed()
  await other.ged.pause()
  moveState(ged, other.ged)
  other.ged.resume()
  t.is(other.line.pulses, 1)
  t.is(other.read(), 2)
  holdsItsState(t, ged)
})
