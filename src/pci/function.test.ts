import test from 'ava'
import type { RegisterWindow } from '../bus/registers.ts'
import { SoftwareBus } from '../bus/software-bus.ts'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { ConfigSpace, configSpaceBytes, pciHeader } from './config-space.ts'
import { PciFunction } from './function.ts'

const identity = {
  ...{ vendor: 0x1af4, device: 0x1042, baseClass: 0x01, subclass: 0x80, revision: 1 },
  ...{ subsystemVendor: 0x1af4, subsystem: 0x1042 },
}
const barBytes = 0x8_0000
const firstAddress = 0x12_3480_0000
const bar0 = pciHeader.bars
const memorySpace = 0x2

function aWindow(name: string, answer: number, sizeBytes = barBytes): RegisterWindow {
  return {
    ...{ name, sizeBytes, bytes: new Uint8Array(sizeBytes), read: () => answer, write: () => {} },
    spans: [{ offset: 0, lengthBytes: sizeBytes, read: 'trap', write: 'trap' }],
  }
}

function aFunction(bus = new SoftwareBus(), address = firstAddress, answer = 0x77) {
  const pci = new PciFunction('disk', new ConfigSpace(new Uint8Array(configSpaceBytes), identity), bus)
  const moves: [number, number | undefined][] = []
  pci.onBarMoved = (index, to) => moves.push([index, to])
  pci.addBar(0, aWindow('registers', answer), address)
  const moveBar = (to: number) => {
    pci.writeConfig(bar0, 4, to % 2 ** 32)
    pci.writeConfig(bar0 + 4, 4, Math.floor(to / 2 ** 32))
  }
  const decode = (isOn: boolean) => pci.writeConfig(pciHeader.command, 2, isOn ? memorySpace : 0)
  const answersAt = (at: number) => bus.read('mmio', at, 1) === answer
  return { bus, pci, moves, moveBar, decode, answersAt }
}

test('a BAR is a 64-bit memory BAR, not prefetchable, at its first address', t => {
  const { pci } = aFunction()
  t.is(pci.readConfig(bar0, 4), 0x3480_0004)
  t.is(pci.readConfig(bar0 + 4, 4), 0x12)
  for (let offset = bar0 + 8; offset <= bar0 + 20; offset += 4) {
    pci.writeConfig(offset, 4, 0xffff_ffff)
    t.is(pci.readConfig(offset, 4), 0, 'a BAR that does not exist')
  }
  pci.writeConfig(0x30, 4, 0xffff_ffff)
  t.is(pci.readConfig(0x30, 4), 0, 'no expansion ROM')
})

test('all ones written to a BAR read as its size, whether it is decoded meanwhile or not', t => {
  for (const isDecoding of [false, true]) {
    const { pci, moveBar, decode, answersAt } = aFunction()
    decode(isDecoding)
    pci.writeConfig(bar0, 4, 0xffff_ffff)
    t.is(pci.readConfig(bar0, 4), 0xfff8_0004)
    pci.writeConfig(bar0 + 4, 4, 0xffff_ffff)
    t.is(pci.readConfig(bar0 + 4, 4), 0xffff_ffff)
    t.is(pci.barAddress(0), undefined, 'there is nothing beyond 52 bits')
    moveBar(firstAddress)
    t.is(pci.readConfig(bar0, 4), 0x3480_0004)
    t.is(answersAt(firstAddress), isDecoding)
  }
})

test('a BAR answers while memory is decoded, where the guest has put it', t => {
  const { pci, moveBar, decode, answersAt } = aFunction()
  t.false(answersAt(firstAddress))
  decode(true)
  t.true(answersAt(firstAddress))
  t.is(pci.barAddress(0), firstAddress)
  moveBar(0xc000_0000)
  t.false(answersAt(firstAddress))
  t.true(answersAt(0xc000_0000))
  t.true(answersAt(0xc000_0000 + barBytes - 1))
  t.false(answersAt(0xc000_0000 + barBytes))
  decode(false)
  t.false(answersAt(0xc000_0000))
  t.is(pci.barAddress(0), undefined)
})

test('bits below a BAR’s size are not the guest’s', t => {
  const { pci, decode, answersAt } = aFunction()
  decode(true)
  pci.writeConfig(bar0, 4, 0xd007_ffff)
  t.is(pci.readConfig(bar0, 4), 0xd000_0004)
  t.true(answersAt(0x12_d000_0000))
})

test('a BAR can be programmed a byte at a time', t => {
  const { pci, decode, answersAt } = aFunction()
  decode(true)
  for (let index = 0; index < 8; index += 1) pci.writeConfig(bar0 + index, 1, index === 3 ? 0xc0 : 0)
  t.true(answersAt(0xc000_0000))
})

test('its owner hears of every move', t => {
  const { moves, moveBar, decode } = aFunction()
  decode(true)
  decode(true)
  moveBar(0xc000_0000)
  decode(false)
  const places = moves.flatMap(([index, address]) => (index === 0 && address !== undefined ? [address] : []))
  // Between the two halves of the new address it is elsewhere.
  t.deepEqual(places, [firstAddress, 0x12_c000_0000, 0xc000_0000])
  t.deepEqual(moves.at(-1), [0, undefined])
})

test('a BAR on top of another window does not answer, and the other still does', t => {
  const bus = new SoftwareBus()
  const first = aFunction(bus, 0xc000_0000, 1)
  const second = aFunction(bus, 0xd000_0000, 2)
  first.decode(true)
  second.decode(true)
  second.moveBar(0xc000_0000)
  t.true(first.answersAt(0xc000_0000))
  t.is(second.pci.barAddress(0), undefined)
  t.false(second.answersAt(0xd000_0000))
  first.decode(false)
  second.decode(true)
  t.true(second.answersAt(0xc000_0000), 'its next write finds the place free')
})

test('command bits beyond memory, bus master and interrupt disable stay zero', t => {
  const { pci } = aFunction()
  pci.writeConfig(pciHeader.command, 4, 0xffff_ffff)
  t.is(pci.readConfig(pciHeader.command, 2), 0x406)
  t.is(pci.readConfig(pciHeader.status, 2), 0)
})

test('a reset brings back the first address and decodes nothing', t => {
  const { pci, moveBar, decode, answersAt } = aFunction()
  const fresh = pci.config.bytes.slice()
  decode(true)
  moveBar(0xc000_0000)
  pci.writeConfig(0x3c, 1, 11)
  pci.reset()
  t.deepEqual(pci.config.bytes, fresh)
  t.false(answersAt(0xc000_0000))
  t.false(answersAt(firstAddress))
  decode(true)
  t.true(answersAt(firstAddress))
})

test('closing takes it off the bus, twice is once, and its address is free', async t => {
  const { bus, pci, decode, answersAt } = aFunction()
  decode(true)
  await pci.close()
  await pci.close()
  t.false(answersAt(firstAddress))
  t.notThrows(() => bus.map('mmio', firstAddress, aWindow('next', 1)))
})

test('BARs that cannot be are refused', t => {
  const { pci } = aFunction()
  t.throws(() => pci.addBar(2, aWindow('odd', 0, 0x3000), 0), { instanceOf: RangeError, message: /BAR 2 of disk/ })
  t.throws(() => pci.addBar(2, aWindow('tiny', 0, 8), 0), { instanceOf: RangeError })
  t.throws(() => pci.addBar(5, aWindow('last', 0, 16), 0), { instanceOf: RangeError }, 'its upper half has no place')
})

test('what the guest has written travels: its BARs answer where they were', t => {
  const { pci, moveBar, decode } = aFunction()
  moveBar(0xc000_0000)
  decode(true)
  const other = aFunction()
  moveState(pci, other.pci)
  t.true(other.answersAt(0xc000_0000))
  t.deepEqual(other.moves.at(-1), [0, 0xc000_0000])
  t.deepEqual(other.pci.config.bytes, pci.config.bytes)
})

test('a configuration register that the guest cannot have written is refused', t => {
  const { pci } = aFunction()
  const { state } = pci
  if (state.kind !== 'saved') return t.fail()
  const message = 'disk: the configuration register 0x0 cannot be 0x1'
  const registers = [{ offset: 0, bytes: Uint8Array.of(1) }]
  t.throws(() => state.part.load({ registers }), { code: 'ERR_STATE_INVALID', message })
  t.throws(() => state.part.load({ registers: [{ offset: 65_535, bytes: Uint8Array.of(1) }] }), {
    code: 'ERR_STATE_INVALID',
  })
  holdsItsState(t, pci, { exact: false })
})
