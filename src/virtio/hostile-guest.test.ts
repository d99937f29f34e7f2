import test from 'ava'
import fc from 'fast-check'
import type { AccessWidth } from '../bus/registers.ts'
import { virtioBar } from './pci-layout.ts'
import { aBoard, barAddress } from './testing/board.ts'
import { FakeDevice } from './testing/fake-device.ts'

const ecam = 0xe800_0000
const elsewhere = 0xc000_0000
const functionBytes = 8 * 4096

/** What a hostile guest does: an access to one of the places it knows, or work of the device's in between. */
type Step =
  | { readonly base: number; readonly offset: number; readonly width: AccessWidth; readonly value: number }
  | { readonly event: 'changed' | 'broken' | 'interrupt' | 'turn' | 'pause' | 'resume' }

const width = fc.constantFrom<AccessWidth>(1, 2, 4)
const value = fc.oneof(
  fc.nat({ max: 0xffff_ffff }),
  fc.nat({ max: 15 }),
  fc.constantFrom(0, 0xff, 0xffff, 0xffff_ffff, 0x8000, 0xc000, 0xe800_0000, 0xc000_0000, 0x80_0000, 0x10, 0x10_0000),
)
const anOffset = (first: number, length: number) => fc.integer({ min: first, max: first + length - 1 })
/** Where something happens, more often than anywhere. */
const barOffset = fc.oneof(
  anOffset(virtioBar.common, 64),
  fc.constantFrom(0, 4, 8, 12, 16, 20, 22, 24, 26, 28, 32, 40, 48),
  anOffset(virtioBar.isr, 4),
  anOffset(virtioBar.device, 16),
  anOffset(virtioBar.notify, 16),
  anOffset(virtioBar.msixTable, 64),
  anOffset(virtioBar.pba, 16),
  anOffset(0, virtioBar.sizeBytes),
)
const configOffset = fc.oneof(
  anOffset(0x04, 2),
  anOffset(0x10, 24),
  fc.constantFrom(0x04, 0x10, 0x14),
  anOffset(0x40, 0x80),
  anOffset(0, 4096),
)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ base: fc.constant(barAddress), offset: barOffset, width, value }) },
  { weight: 2, arbitrary: fc.record({ base: fc.constant(elsewhere), offset: barOffset, width, value }) },
  { weight: 4, arbitrary: fc.record({ base: fc.constant(ecam), offset: configOffset, width, value }) },
  {
    weight: 1,
    arbitrary: fc.record({
      event: fc.constantFrom('changed', 'broken', 'interrupt', 'turn', 'pause', 'resume'),
    }) satisfies fc.Arbitrary<Step>,
  },
)

/** A board whose guest has started the device already, with watched neighbours around all that it can reach. */
async function aHostileBoard() {
  const board = aBoard(new FakeDevice({ queueSizes: [256, 128, 64] }))
  const touched: string[] = []
  const neighbour = (name: string, address: number, sizeBytes: number) =>
    board.bus.map('mmio', address, {
      ...{ name, sizeBytes, bytes: new Uint8Array(sizeBytes), read: () => 0 },
      spans: [{ offset: 0, lengthBytes: sizeBytes, read: 'trap', write: 'trap' }],
      write: (offset, length) => touched.push(`${name} ${offset}/${length}`),
    })
  neighbour('before', barAddress - 16, 16)
  neighbour('behind', barAddress + virtioBar.sizeBytes, 16)
  board.driver.pci.enable(true)
  await board.driver.begin(board.queues)
  return { ...board, touched }
}

test('no accesses of a guest throw, reach anything else, or leave a device that a reset does not mend', async t => {
  const holds = fc.asyncProperty(fc.array(step, { maxLength: 80 }), async steps => {
    const { bus, device, driver, queues, segment, touched, transport, interrupts } = await aHostileBoard()
    const otherSlots = segment.bytes.slice(functionBytes)
    for (const each of steps) {
      if ('event' in each) {
        if (each.event === 'changed') device.events.configChanged()
        else if (each.event === 'broken') device.events.needsReset('queue 0: a loop')
        else if (each.event === 'interrupt') for (const { interrupt } of device.backend.rings) interrupt.signal()
        else if (each.event === 'turn') await new Promise(resolve => setImmediate(resolve))
        else if (each.event === 'pause') await transport.pause()
        else transport.resume()
        continue
      }
      bus.write('mmio', each.base + each.offset, each.width, each.value % 2 ** (8 * each.width))
      bus.read('mmio', each.base + each.offset, each.width)
    }
    // An unaligned access at the end of the BAR reaches the neighbour's first bytes, and no other.
    const isApart = touched.every(place => /^behind [0-2]\//.test(place))
    const isSame = Buffer.compare(segment.bytes.subarray(functionBytes), otherSlots) === 0
    transport.resume()
    driver.pci.enable(false)
    driver.pci.moveBar(0, elsewhere)
    await driver.begin(queues)
    interrupts()
    driver.notify(1)
    device.backend.rings[2]?.interrupt.signal()
    const isWorking =
      device.backend.isRunning &&
      device.backend.rings.length === 3 &&
      device.backend.rings[1]?.doorbell.isPending() === true &&
      interrupts().join() === '3'
    return isApart && isSame && isWorking
  })
  await t.notThrowsAsync(fc.assert(holds, { numRuns: 400 }))
})

test('after any accesses of a guest a machine’s reset leaves a device as it was built', async t => {
  const holds = fc.asyncProperty(fc.array(step, { maxLength: 60 }), async steps => {
    const { bus, driver, segment, transport, doorbells, gateway } = await aHostileBoard()
    const fresh = aBoard(new FakeDevice({ queueSizes: [256, 128, 64] }))
    for (const each of steps) {
      if ('event' in each) continue
      bus.write('mmio', each.base + each.offset, each.width, each.value % 2 ** (8 * each.width))
    }
    await transport.pause()
    transport.reset()
    transport.resume()
    const isFresh =
      Buffer.compare(segment.bytes, fresh.segment.bytes) === 0 &&
      Buffer.compare(transport.bytes, fresh.transport.bytes) === 0 &&
      doorbells.attached.size === 0 &&
      gateway.attached.size === 0 &&
      driver.pci.barAddress(0) === barAddress
    await transport.close()
    return isFresh && doorbells.attached.size === 0
  })
  await t.notThrowsAsync(fc.assert(holds, { numRuns: 200 }))
})
