import test from 'ava'
import fc from 'fast-check'
import type { AddressSpace } from '../bus/bus.ts'
import type { AccessWidth } from '../bus/registers.ts'
import { SoftwareBus } from '../bus/software-bus.ts'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { pciHeader } from './config-space.ts'
import { PciFunction } from './function.ts'
import { ConfigPorts, PciSegment } from './segment.ts'
import { GuestFunction } from './testing/guest-function.ts'

const ecam = 0xe800_0000
const addressPort = 0xcf8
const dataPort = 0xcfc
const enable = 0x8000_0000
const widths: readonly AccessWidth[] = [1, 2, 4]

/** Remembers reads of a part of its configuration space that has side effects. */
class Counting extends PciFunction {
  readonly reads: string[] = []

  override readConfig(offset: number, width: AccessWidth): number {
    this.reads.push(`${offset}/${width}`)
    return super.readConfig(offset, width)
  }
}

function aSegment() {
  const bus = new SoftwareBus()
  const segment = new PciSegment(0, bus, ecam)
  const ports = new ConfigPorts(ecam, 1)
  bus.map('pio', addressPort, ports)
  const identity = (device: number) => ({
    ...{ vendor: 0x1af4, device, baseClass: 0x01, subclass: 0x80, revision: 1 },
    ...{ subsystemVendor: 0x1af4, subsystem: device },
  })
  const plug = (slot: number, device: number) => {
    const pci = new Counting(`slot${slot}`, segment.configSpace(slot, identity(device)), bus)
    segment.plug(slot, pci, [{ offset: 0x80, lengthBytes: 4 }])
    return pci
  }
  const select = (slot: number, register: number, pciFunction = 0, busNumber = 0) =>
    bus.write('pio', addressPort, 4, enable + busNumber * 0x1_0000 + slot * 0x800 + pciFunction * 0x100 + register)
  return { bus, segment, ports, plug, select, guest: (slot: number) => new GuestFunction(bus, ecam, slot) }
}

function ones(width: AccessWidth): number {
  return 2 ** (8 * width) - 1
}

test('a function is found in its slot of the window, and not in the others', t => {
  const { plug, guest } = aSegment()
  plug(0, 0x1041)
  plug(31, 0x1042)
  t.is(guest(0).read(pciHeader.vendor, 4), 0x1041_1af4)
  t.is(guest(31).read(pciHeader.vendor, 4), 0x1042_1af4)
  for (let slot = 1; slot < 31; slot += 1) {
    for (const width of widths) t.is(guest(slot).read(pciHeader.vendor, width), ones(width))
  }
})

test('the other functions of a slot are absent', t => {
  const { bus, plug, select } = aSegment()
  plug(1, 0x1041)
  for (let number = 1; number < 8; number += 1) {
    t.is(bus.read('mmio', ecam + (8 + number) * 4096, 4), 0xffff_ffff)
    bus.write('mmio', ecam + (8 + number) * 4096 + pciHeader.command, 2, 0xffff)
    select(1, pciHeader.vendor, number)
    t.is(bus.read('pio', dataPort, 4), 0xffff_ffff)
    bus.write('pio', dataPort, 4, 0xffff_ffff)
  }
  t.is(bus.read('mmio', ecam + 8 * 4096 + pciHeader.command, 2), 0)
})

test('the window is as large as one bus, and what lies behind is not its', t => {
  const { bus, plug } = aSegment()
  plug(31, 0x1041)
  t.is(bus.read('mmio', ecam + 0x10_0000, 4), 0xffff_ffff)
  t.is(bus.read('mmio', ecam + 0x10_0000 - 0x8000 + 4092, 4), 0, 'the end of the last function')
})

test('reading costs no trap but where it has side effects', t => {
  const { bus, plug, guest } = aSegment()
  const pci = plug(3, 0x1041)
  for (let offset = 0; offset < 4096; offset += 4) guest(3).read(offset, 4)
  t.is(bus.counters.trapped, 1)
  t.deepEqual(pci.reads, ['128/4'])
})

test('an access of any width and alignment reads the same through window and bytes', t => {
  const { plug, guest, bus, segment } = aSegment()
  const pci = plug(2, 0x1041)
  pci.config.bytes.forEach((_, index) => {
    pci.config.bytes[index] = (index * 7) % 256
  })
  const holds = fc.property(fc.nat({ max: 4092 }), fc.constantFrom(...widths), (offset, width) => {
    const at = 2 * 8 * 4096 + offset
    const expected = Buffer.from(segment.bytes.buffer).readUIntLE(at, width)
    return guest(2).read(offset, width) === expected && bus.read('mmio', ecam + at, width) === expected
  })
  t.notThrows(() => fc.assert(holds))
})

test('the ports reach every register in every width and alignment', t => {
  const { bus, plug, select, guest } = aSegment()
  const pci = plug(2, 0x1041)
  pci.config.bytes.forEach((_, index) => {
    pci.config.bytes[index] = (index * 7) % 256
  })
  for (let register = 0; register < 256; register += 4) {
    select(2, register)
    for (const width of widths) {
      for (let offset = 0; offset + width <= 4; offset += 1) {
        t.is(bus.read('pio', dataPort + offset, width), guest(2).read(register + offset, width))
      }
    }
  }
})

test('the low two bits of the address do not count', t => {
  const { bus, plug, select } = aSegment()
  plug(2, 0x1041)
  select(2, pciHeader.vendor + 3)
  t.is(bus.read('pio', dataPort, 4), 0x1041_1af4)
  t.is(bus.read('pio', dataPort + 2, 2), 0x1041)
})

test('writes through the ports take the width of the access', t => {
  const { bus, plug, select, guest } = aSegment()
  plug(2, 0x1041)
  select(2, 0x3c)
  bus.write('pio', dataPort, 1, 0x0b)
  t.is(guest(2).read(0x3c, 1), 0x0b)
  select(2, pciHeader.command)
  bus.write('pio', dataPort, 2, 0x0406)
  t.is(guest(2).read(pciHeader.command, 2), 0x0406)
  bus.write('pio', dataPort + 1, 1, 0)
  t.is(guest(2).read(pciHeader.command, 2), 0x0006)
  bus.write('pio', dataPort, 4, 0)
  t.is(guest(2).read(pciHeader.command, 2), 0)
})

test('the address port reads back what was written to it', t => {
  const { bus, select } = aSegment()
  select(2, 0x3c)
  t.is(bus.read('pio', addressPort, 4), enable + 2 * 0x800 + 0x3c)
})

test('without the enable bit, on another bus or in an empty slot there is nothing', t => {
  const { bus, plug, select, guest } = aSegment()
  plug(2, 0x1041)
  const places = [
    () => bus.write('pio', addressPort, 4, 2 * 0x800),
    () => select(2, 0, 0, 1),
    () => select(2, 0, 0, 255),
    () => select(3, 0),
  ]
  for (const go of places) {
    go()
    for (const width of widths) {
      for (let offset = 0; offset + width <= 4; offset += 1) {
        t.is(bus.read('pio', dataPort + offset, width), ones(width))
        bus.write('pio', dataPort + offset, width, ones(width))
      }
    }
  }
  t.is(guest(2).read(0x3c, 4), 0)
})

test('a read with side effects has them once, through the ports as well', t => {
  const { bus, plug, select, guest } = aSegment()
  const pci = plug(2, 0x1041)
  select(2, 0x80)
  t.is(bus.read('pio', dataPort, 4), 0)
  guest(2).read(0x82, 2)
  t.deepEqual(pci.reads, ['128/4', '130/2'])
})

test('a function plugged later is there, and one that is unplugged is not', t => {
  const { segment, plug, guest, bus, select } = aSegment()
  plug(0, 0x1041)
  plug(2, 0x1042)
  select(1, 0)
  t.is(bus.read('pio', dataPort, 4), 0xffff_ffff)
  plug(1, 0x1043)
  t.is(bus.read('pio', dataPort, 4), 0x1043_1af4)
  t.is(guest(1).read(pciHeader.device, 2), 0x1043)
  t.throws(() => plug(1, 0x1044), { instanceOf: RangeError, message: 'slot 1 of __pci0 is taken' })
  segment.unplug(1)
  segment.unplug(1)
  t.is(bus.read('pio', dataPort, 4), 0xffff_ffff)
  for (const width of widths) t.is(guest(1).read(pciHeader.vendor, width), ones(width))
  t.is(guest(2).read(pciHeader.vendor, 4), 0x1042_1af4)
})

test('what takes the slot of another finds nothing of it there', t => {
  const { segment, plug, guest } = aSegment()
  plug(1, 0x1043)
  guest(1).write(0x3c, 1, 0x0b)
  segment.unplug(1)
  guest(1).write(0x3c, 1, 0x0c)
  plug(1, 0x1044)
  t.is(guest(1).read(pciHeader.vendor, 4), 0x1044_1af4)
  t.is(guest(1).read(0x3c, 1), 0)
})

test('a reset of the ports selects nothing', async t => {
  const { bus, ports, plug, select } = aSegment()
  plug(2, 0x1041)
  select(2, 0)
  t.is(bus.read('pio', dataPort, 4), 0x1041_1af4)
  await ports.pause()
  ports.reset()
  ports.resume()
  t.is(bus.read('pio', addressPort, 4), 0)
  t.is(bus.read('pio', dataPort, 4), 0xffff_ffff)
})

test('a closed segment is off the bus', async t => {
  const { segment, plug, guest } = aSegment()
  plug(2, 0x1041)
  await segment.close()
  await segment.close()
  t.is(guest(2).read(0, 4), 0xffff_ffff)
})

function place(space: AddressSpace, address: number) {
  return { space, address }
}

test('whatever a guest writes to ports and window, reads answer, and BARs that are no longer decoded are nowhere', t => {
  const aWrite = fc.record({
    place: fc.oneof(
      fc.nat({ max: 7 }).map(offset => place('pio', addressPort + offset)),
      fc.nat({ max: 0x10_0000 - 4 }).map(offset => place('mmio', ecam + offset)),
      fc.nat({ max: 0x40 }).map(offset => place('mmio', ecam + 2 * 0x8000 + offset)),
    ),
    width: fc.constantFrom(...widths),
    value: fc.oneof(fc.nat({ max: 0xffff_ffff }), fc.constantFrom(0, 0xffff_ffff, enable + 0x1010, 0xe800_0000, 2)),
  })
  const holds = fc.property(fc.array(aWrite), writes => {
    const { bus, plug, guest } = aSegment()
    const pci = plug(2, 0x1041)
    const window = { name: 'registers', sizeBytes: 4096, bytes: new Uint8Array(4096), spans: [] }
    pci.addBar(0, { ...window, read: () => 0, write: () => {} }, 0xc000_0000)
    for (const { place: at, width, value } of writes) {
      bus.write(at.space, at.address, width, value % 2 ** (8 * width))
      bus.read(at.space, at.address, width)
    }
    pci.reset()
    const isThere = guest(2).read(pciHeader.vendor, 4) === 0x1041_1af4 && guest(2).sizeBar(0) === 4096n
    return isThere && pci.barAddress(0) === undefined && guest(2).barAddress(0) === 0xc000_0000
  })
  t.notThrows(() => fc.assert(holds))
})

test('the address that was selected travels', t => {
  const { ports, select, bus } = aSegment()
  select(3, 0x40)
  const other = aSegment()
  moveState(ports, other.ports)
  t.is(other.bus.read('pio', addressPort, 4), bus.read('pio', addressPort, 4))
  holdsItsState(t, ports)
})
