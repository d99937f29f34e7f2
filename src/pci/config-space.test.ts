import test from 'ava'
import fc from 'fast-check'
import type { AccessWidth } from '../bus/registers.ts'
import { ConfigSpace, configSpaceBytes, type PciIdentity, pciHeader } from './config-space.ts'

const identity: PciIdentity = {
  ...{ vendor: 0x1af4, device: 0x1042, baseClass: 0x01, subclass: 0x80, revision: 1 },
  ...{ subsystemVendor: 0x1af4, subsystem: 0x1042 },
}
const anAccess = fc.constantFrom<AccessWidth>(1, 2, 4).chain(width =>
  fc.record({
    width: fc.constant(width),
    offset: fc.integer({ min: 0, max: configSpaceBytes - width }),
    value: fc.integer({ min: 0, max: 2 ** (8 * width) - 1 }),
  }),
)

function aConfigSpace(bytes = new Uint8Array(configSpaceBytes)) {
  return new ConfigSpace(bytes, identity)
}

test('the header says who it is, as a type 0 function without interrupt pin', t => {
  // Whatever was there before.
  const config = aConfigSpace(new Uint8Array(configSpaceBytes).fill(0xaa))
  t.is(config.get(0x00, 4), 0x1042_1af4)
  t.is(config.get(0x04, 4), 0, 'command and status')
  t.is(config.get(0x08, 4), 0x0180_0001, 'class and revision')
  t.is(config.get(0x0c, 4), 0, 'header type')
  t.is(config.get(0x2c, 4), 0x1042_1af4)
  t.is(config.get(0x34, 4), 0, 'no capabilities')
  t.is(config.get(0x3c, 4), 0, 'interrupt line and pin')
})

test('a guest changes the interrupt line and nothing else that was not allowed', t => {
  const config = aConfigSpace()
  config.allow(0x44, 2, 0xc000)
  const before = config.bytes.slice()
  const holds = fc.property(anAccess, ({ offset, width, value }) => {
    config.write(offset, width, value)
    const after = config.bytes.slice()
    for (const [at, mask] of [
      [0x3c, 0xff],
      [0x45, 0xc0],
    ] as const) {
      const isWritten = at >= offset && at < offset + width
      const old = before[at] ?? 0
      const expected = isWritten ? (old & ~mask) | (Math.floor(value / 256 ** (at - offset)) & mask) : old
      if (after[at] !== expected) return false
      before[at] = expected
    }
    return Buffer.compare(before, after) === 0
  })
  t.notThrows(() => fc.assert(holds, { numRuns: 500 }))
})

test('bits allowed in a wide register take writes of every width', t => {
  const config = aConfigSpace()
  config.allow(0x10, 4, 0xffff_f000)
  config.write(0x10, 4, 0xffff_ffff)
  t.is(config.get(0x10, 4), 0xffff_f000)
  config.write(0x11, 1, 0)
  t.is(config.get(0x10, 4), 0xffff_0000)
  config.write(0x12, 2, 0x1234)
  t.is(config.get(0x10, 4), 0x1234_0000)
  config.write(0x0f, 4, 0xff)
  t.is(config.get(0x10, 4), 0x1200_0000, 'an unaligned write reaches three of its bytes')
  t.is(config.get(0x0f, 1), 0)
})

test('a write at the very end stays inside', t => {
  const config = aConfigSpace()
  config.allow(configSpaceBytes - 1, 1, 0xff)
  config.write(configSpaceBytes - 1, 4, 0x1234_5678)
  t.is(config.get(configSpaceBytes - 1, 1), 0x78)
})

test('capabilities form a list of aligned entries that ends', t => {
  const config = aConfigSpace()
  const first = config.addCapability(0x09, Uint8Array.of(5, 1, 2))
  const second = config.addCapability(0x11, Uint8Array.of(7, 0))
  t.deepEqual([first, second], [0x40, 0x48])
  t.is(config.get(pciHeader.status, 2) & 0x10, 0x10)
  t.is(config.get(pciHeader.capabilities, 1), first)
  t.deepEqual([...config.bytes.subarray(first, first + 5)], [0x09, second, 5, 1, 2])
  t.deepEqual([...config.bytes.subarray(second, second + 4)], [0x11, 0, 7, 0])
  config.write(first, 4, 0)
  config.write(pciHeader.capabilities, 1, 0)
  t.is(config.get(pciHeader.capabilities, 1), first, 'the guest cannot change it')
  t.is(config.get(first, 1), 0x09)
})

test('a reset takes back all that the guest has written', t => {
  const config = aConfigSpace()
  config.addCapability(0x11, Uint8Array.of(7, 0))
  config.allow(0x42, 2, 0xc000)
  config.allow(pciHeader.command, 2, 0x6)
  const fresh = config.bytes.slice()
  for (let offset = 0; offset < configSpaceBytes; offset += 4) config.write(offset, 4, 0xffff_ffff)
  t.notDeepEqual(config.bytes, fresh)
  config.reset()
  t.deepEqual(config.bytes, fresh)
})
