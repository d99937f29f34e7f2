import test from 'ava'
import fc from 'fast-check'
import type { AccessWidth } from '../bus/registers.ts'
import { SoftwareBus } from '../bus/software-bus.ts'
import { InterruptRoutes } from '../interrupts/routes.ts'
import { FakeGateway } from '../interrupts/testing/fake-gateway.ts'
import { ConfigSpace, configSpaceBytes } from './config-space.ts'
import { Msix } from './msix.ts'

const identity = {
  ...{ vendor: 0x1af4, device: 0x1042, baseClass: 0x01, subclass: 0x80, revision: 1 },
  ...{ subsystemVendor: 0x1af4, subsystem: 0x1042 },
}
const tableOffset = 0x1000
const pbaOffset = 0x2000
const control = 0x42
const enable = 0x8000
const functionMask = 0x4000
const lapic = 0xfee0_0000
const base = 0xc000_0000

/** An MSI-X function with its BAR on a bus, and a guest that programs it. */
function aTable(vectors = 3) {
  const bus = new SoftwareBus()
  const gateway = new FakeGateway(256)
  const routes = new InterruptRoutes(gateway, 24)
  const config = new ConfigSpace(new Uint8Array(configSpaceBytes), identity)
  const barBytes = new Uint8Array(0x3000)
  const messages = Array.from({ length: vectors }, () => routes.allocate())
  const msix = new Msix({ config, routes: messages, bar: 0, barBytes, tableOffset, pbaOffset })
  bus.map('mmio', base, {
    ...{ name: 'bar', sizeBytes: barBytes.length, bytes: barBytes, spans: msix.tableSpans },
    read: (offset, width) => msix.readPending(offset - pbaOffset, width),
    write: (offset, width, value) => msix.writeTable(offset - tableOffset, width, value),
  })
  const entry = (vector: number) => base + tableOffset + 16 * vector
  return {
    ...{ bus, gateway, config, msix, messages },
    signal: (vector: number) => messages[vector]?.eventFd.signal(),
    setControl: (value: number) => {
      config.write(control, 2, value)
      msix.configWritten(control, 2)
    },
    program: (vector: number, data: number) => {
      bus.write('mmio', entry(vector), 4, lapic)
      bus.write('mmio', entry(vector) + 4, 4, 0)
      bus.write('mmio', entry(vector) + 8, 4, data)
    },
    setMask: (vector: number, isMasked: boolean) => bus.write('mmio', entry(vector) + 12, 4, isMasked ? 1 : 0),
    readEntry: (vector: number) => [0, 4, 8, 12].map(offset => bus.read('mmio', entry(vector) + offset, 4)),
    pending: () => bus.read64('mmio', base + pbaOffset),
    delivered: () => gateway.take().map(message => message.data),
  }
}

test('the capability tells the size of the table and where it and the pending bits are', t => {
  const { config } = aTable(3)
  t.is(config.get(0x40, 1), 0x11)
  t.is(config.get(control, 2), 2, 'one less than there are')
  t.is(config.get(0x44, 4), tableOffset)
  t.is(config.get(0x48, 4), pbaOffset)
  for (let offset = 0x40; offset < 0x4c; offset += 1) config.write(offset, 1, 0xff)
  t.is(config.get(control, 2), 2 | enable | functionMask, 'enable and mask are the guest’s, the size is not')
  t.is(config.get(0x44, 4), tableOffset)
})

test('a fresh table is masked and empty, and nothing is delivered', t => {
  const { readEntry, signal, delivered, pending } = aTable()
  for (const vector of [0, 1, 2]) t.deepEqual(readEntry(vector), [0, 0, 0, 1])
  signal(1)
  t.deepEqual(delivered(), [])
  t.is(pending(), 0b010n)
})

test('an entry written in any width delivers its message', t => {
  const { bus, setControl, setMask, signal, delivered } = aTable()
  setControl(enable)
  const entry = base + tableOffset + 16
  for (let index = 0; index < 4; index += 1) bus.write('mmio', entry + index, 1, Math.floor(lapic / 256 ** index) % 256)
  bus.write('mmio', entry + 8, 2, 0x41)
  bus.write('mmio', entry + 10, 2, 0)
  t.is(bus.read('mmio', entry, 4), lapic)
  t.is(bus.read('mmio', entry + 2, 2), 0xfee0)
  t.is(bus.read('mmio', entry + 3, 1), 0xfe)
  setMask(1, false)
  signal(1)
  t.deepEqual(delivered(), [0x41])
})

test('a 64-bit access to the table arrives as two', t => {
  const { bus, setControl, program, signal, delivered } = aTable()
  setControl(enable)
  program(0, 0)
  bus.write64('mmio', base + tableOffset + 8, 0x55n)
  signal(0)
  t.deepEqual(delivered(), [0x55])
})

test('a write across two entries counts for both', t => {
  const { bus, gateway, setControl, program, setMask, signal } = aTable()
  setControl(enable)
  for (const vector of [0, 1]) {
    program(vector, 0x50 + vector)
    setMask(vector, false)
  }
  // The upper half of the first entry's vector control, and the lower half of the second one's address.
  bus.write('mmio', base + tableOffset + 14, 4, 0x1000_0000)
  signal(0)
  signal(1)
  t.deepEqual(gateway.take(), [
    { addressLow: lapic, addressHigh: 0, data: 0x50 },
    { addressLow: lapic + 0x1000, addressHigh: 0, data: 0x51 },
  ])
})

test('a masked vector is pending until it is unmasked, and then delivered once', t => {
  const { setControl, program, setMask, signal, delivered, pending } = aTable()
  setControl(enable)
  program(0, 0x30)
  program(2, 0x32)
  setMask(0, false)
  signal(0)
  t.deepEqual(delivered(), [0x30])
  setMask(0, true)
  signal(0)
  signal(0)
  signal(2)
  t.is(pending(), 0b101n)
  t.deepEqual(delivered(), [])
  setMask(0, false)
  t.deepEqual(delivered(), [0x30])
  t.is(pending(), 0b100n)
  setMask(2, false)
  t.deepEqual(delivered(), [0x32])
  t.is(pending(), 0n)
})

test('the function mask holds back all vectors, and their own masks stay as they are', t => {
  const { setControl, program, setMask, signal, delivered, pending, readEntry } = aTable()
  setControl(enable | functionMask)
  for (const vector of [0, 1]) program(vector, 0x60 + vector)
  setMask(0, false)
  signal(0)
  signal(1)
  t.deepEqual(delivered(), [])
  t.is(pending(), 0b011n)
  setControl(enable)
  t.deepEqual(delivered(), [0x60])
  t.is(pending(), 0b010n)
  t.is(readEntry(1)[3], 1)
})

test('nothing is delivered while MSI-X is disabled', t => {
  const { setControl, program, setMask, signal, delivered } = aTable()
  program(0, 0x30)
  setMask(0, false)
  signal(0)
  t.deepEqual(delivered(), [])
  setControl(enable)
  t.deepEqual(delivered(), [0x30])
  setControl(0)
  signal(0)
  t.deepEqual(delivered(), [])
})

test('control is heard of in the upper byte and in a 32-bit write as well', t => {
  for (const [offset, width, value] of [
    [control + 1, 1, enable >> 8],
    [control - 2, 4, enable * 0x1_0000],
  ] as const) {
    const { config, msix, program, setMask, signal, delivered } = aTable()
    program(0, 0x30)
    setMask(0, false)
    config.write(offset, width, value)
    msix.configWritten(offset, width)
    signal(0)
    t.deepEqual(delivered(), [0x30])
  }
})

test('a message changed while unmasked holds for the next interrupt', t => {
  const { setControl, program, setMask, signal, delivered } = aTable()
  setControl(enable)
  program(0, 0x30)
  setMask(0, false)
  program(0, 0x31)
  signal(0)
  t.deepEqual(delivered(), [0x31])
})

test('pending bits are read in every width and not written', t => {
  const { bus, signal } = aTable(70)
  for (const vector of [0, 9, 31, 32, 69]) signal(vector)
  const read = (offset: number, width: AccessWidth) => bus.read('mmio', base + pbaOffset + offset, width)
  t.is(read(0, 4), 0x8000_0201)
  t.is(read(1, 1), 0x02)
  t.is(read(2, 2), 0x8000)
  t.is(read(4, 4), 1)
  t.is(read(8, 4), 1 << 5)
  t.is(read(12, 4), 0)
  t.is(read(16, 4), 0xffff_ffff, 'beyond the last quadword there is nothing')
  bus.write('mmio', base + pbaOffset, 4, 0)
  t.is(read(0, 4), 0x8000_0201)
})

test('a reset masks, empties and disables, and forgets what was pending', t => {
  const { msix, config, setControl, program, setMask, signal, delivered, pending, readEntry } = aTable()
  setControl(enable)
  program(0, 0x30)
  setMask(0, false)
  signal(1)
  msix.reset()
  t.is(config.get(control, 2), 2)
  t.deepEqual(readEntry(0), [0, 0, 0, 1])
  t.is(pending(), 0n)
  signal(0)
  t.deepEqual(delivered(), [])
  setControl(enable)
  program(0, 0x33)
  setMask(0, false)
  t.deepEqual(delivered(), [0x33], 'what came after it is delivered')
})

test('closing gives the routes back, and twice is once', t => {
  const { msix, gateway } = aTable()
  msix.close()
  msix.close()
  t.true(gateway.eventFds.every(each => each.isClosed))
  t.is(gateway.attached.size, 0)
})

test('whatever a guest writes, nothing is lost, and a reset table works', t => {
  const aWrite = fc.record({
    offset: fc.integer({ min: 0, max: 0x3000 - 1 }),
    width: fc.constantFrom<AccessWidth>(1, 2, 4),
    value: fc.integer({ min: 0, max: 0xffff_ffff }),
  })
  const anEntryWrite = fc.record({
    offset: fc.integer({ min: tableOffset, max: tableOffset + 48 }),
    width: fc.constantFrom<AccessWidth>(1, 2, 4),
    value: fc.constantFrom(0, 1, 0xff, lapic, 0xffff_ffff),
  })
  const aControl = fc.record({ control: fc.constantFrom(0, enable, functionMask, enable | functionMask, 0xffff) })
  const steps = fc.array(fc.oneof(aWrite, anEntryWrite, aControl, fc.record({ signal: fc.nat({ max: 2 }) })))
  const holds = fc.property(steps, all => {
    const { bus, msix, setControl, program, setMask, signal, delivered } = aTable()
    for (const step of all) {
      if ('signal' in step) signal(step.signal)
      else if ('control' in step) setControl(step.control)
      else bus.write('mmio', base + step.offset, step.width, step.value % 2 ** (8 * step.width))
    }
    msix.reset()
    delivered()
    setControl(enable)
    for (const vector of [0, 1, 2]) {
      program(vector, 0x70 + vector)
      setMask(vector, false)
      signal(vector)
    }
    return delivered().join() === '112,113,114'
  })
  t.notThrows(() => fc.assert(holds))
})
