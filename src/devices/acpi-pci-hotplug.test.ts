import test from 'ava'
import { SoftwareBus } from '../bus/software-bus.ts'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { AcpiPciHotplug } from './acpi-pci-hotplug.ts'

const address = 0x3fff_ffff_ffd8
const [arrived, leaving, eject, segment] = [0, 4, 8, 12]

function aController() {
  const bus = new SoftwareBus()
  const controller = new AcpiPciHotplug()
  const ejected: number[] = []
  controller.onEject = slot => ejected.push(slot)
  bus.map('mmio', address, controller)
  return {
    ...{ bus, controller, ejected },
    read: (offset: number) => bus.read('mmio', address + offset, 4),
    write: (offset: number, value: number) => bus.write('mmio', address + offset, 4, value),
  }
}

test('what has come and what shall go is told once, a bit a slot', t => {
  const { controller, read } = aController()
  t.deepEqual([read(arrived), read(leaving)], [0, 0])
  for (const slot of [1, 31]) controller.arrive(slot)
  controller.ask(2)
  t.is(read(arrived), 0x8000_0002)
  t.is(read(leaving), 4)
  t.deepEqual([read(arrived), read(leaving)], [0, 0])
  t.deepEqual(controller.unwanted, [2], 'until it is gone')
  controller.ask(2)
  t.is(read(leaving), 4, 'asked again, told again')
})

test('writing ejects every slot whose bit is set, and reads as nothing', t => {
  const { ejected, read, write } = aController()
  write(eject, 0x8000_0005)
  t.deepEqual(ejected, [0, 2, 31])
  t.is(read(eject), 0)
})

test('there is one segment, whichever the guest chooses', t => {
  const { controller, read, write } = aController()
  write(segment, 1)
  t.is(read(segment), 0)
  controller.arrive(3)
  t.is(read(arrived), 8)
})

test('accesses that are not a whole register do nothing', t => {
  const { bus, controller, ejected, read } = aController()
  controller.arrive(3)
  controller.ask(4)
  for (const [offset, width] of [
    [0, 1],
    [1, 1],
    [2, 2],
    [4, 2],
    [6, 2],
  ] as const) {
    t.is(bus.read('mmio', address + offset, width), 0)
  }
  for (const [offset, width] of [
    [8, 1],
    [8, 2],
    [10, 2],
    [11, 1],
    [0, 4],
    [4, 4],
  ] as const) {
    bus.write('mmio', address + offset, width, 0xff)
  }
  t.deepEqual(ejected, [])
  t.deepEqual([read(arrived), read(leaving)], [8, 16])
})

test('of what is gone nothing is told any more', t => {
  const { controller, read } = aController()
  controller.arrive(3)
  controller.ask(3)
  controller.forget(3)
  t.deepEqual([read(arrived), read(leaving), controller.unwanted], [0, 0, []])
})

test('a reset forgets what was asked and told', async t => {
  const { controller, read } = aController()
  controller.arrive(3)
  controller.ask(4)
  await controller.pause()
  controller.reset()
  t.deepEqual([read(arrived), read(leaving), controller.unwanted], [0, 0, []])
})

test('what the guest does not know yet, and what it has not ejected yet, travels', async t => {
  const { controller, read } = aController()
  controller.ask(2)
  read(leaving)
  controller.arrive(31)
  controller.ask(31)
  const other = aController()
  moveState(controller, other.controller)
  t.is(other.read(arrived), 0x8000_0000)
  t.is(other.read(leaving), 0x8000_0000)
  t.deepEqual(other.controller.unwanted, [2, 31])
  holdsItsState(t, controller)
})
