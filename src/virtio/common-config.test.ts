import test from 'ava'
import fc from 'fast-check'
import { commonConfig, deviceStatus } from './common-config.ts'
import { commonFeatures } from './device.ts'
import { aBoard } from './testing/board.ts'
import { FakeDevice } from './testing/fake-device.ts'
import { noVector } from './transport-state.ts'

const { acknowledge, driver: driverBit, driverOk, featuresOk, needsReset, failed } = deviceStatus
const { version1, eventIndex, indirectDescriptors } = commonFeatures

function aCommonConfig(options: ConstructorParameters<typeof FakeDevice>[0] = {}) {
  const board = aBoard(new FakeDevice({ features: eventIndex | 1n, ...options }))
  board.driver.pci.enable(true)
  return board
}

test('a fresh device shows nothing but what it has', t => {
  const { driver } = aCommonConfig()
  t.is(driver.status, 0)
  t.is(driver.read('queueCount'), 2)
  t.is(driver.read('configVector'), noVector)
  t.is(driver.read('configGeneration'), 0)
  t.is(driver.read('driverFeature'), 0)
  t.is(driver.read('queueSelect'), 0)
  t.is(driver.read('queueSize'), 256)
  t.is(driver.read('queueVector'), noVector)
  t.is(driver.read('queueEnable'), 0)
  for (const field of ['queueDescriptors', 'queueDriver', 'queueDevice'] as const) t.is(driver.read(field), 0)
})

test('features are offered in two halves; further halves are empty', t => {
  const { driver } = aCommonConfig()
  t.is(driver.offeredFeatures(), version1 | eventIndex | 1n)
  for (const select of [2, 3, 0x8000_0000, 0xffff_ffff]) {
    driver.write('deviceFeatureSelect', select)
    t.is(driver.read('deviceFeatureSelect'), select)
    t.is(driver.read('deviceFeature'), 0)
  }
})

test('what the device tells cannot be written', t => {
  const { driver } = aCommonConfig()
  for (const field of ['deviceFeature', 'queueCount', 'configGeneration', 'queueNotifyOffset'] as const) {
    const before = driver.read(field)
    driver.write(field, 0x55)
    t.is(driver.read(field), before, field)
  }
})

test('the driver’s features are kept by half, and there are two', t => {
  const { driver } = aCommonConfig()
  driver.writeFeatures(version1 | eventIndex)
  driver.write('driverFeatureSelect', 2)
  t.is(driver.read('driverFeature'), 0)
  driver.write('driverFeature', 0xffff_ffff)
  driver.write('driverFeatureSelect', 0)
  t.is(driver.read('driverFeature'), Number(eventIndex))
  driver.write('driverFeatureSelect', 1)
  t.is(driver.read('driverFeature'), 1)
})

test('features that were offered, with VERSION_1, are accepted; others are not', t => {
  const cases: readonly (readonly [bigint, boolean])[] = [
    [version1, true],
    [version1 | eventIndex | 1n, true],
    [eventIndex, false],
    [0n, false],
    [version1 | indirectDescriptors, false],
    [version1 | (1n << 34n), false],
    [version1 | (1n << 63n), false],
  ]
  for (const [features, isAccepted] of cases) {
    const { driver } = aCommonConfig()
    t.is(driver.negotiate(features), isAccepted, features.toString(16))
    t.is(driver.status, acknowledge | driverBit | (isAccepted ? featuresOk : 0))
  }
})

test('a driver whose features were refused may try others', t => {
  const { driver } = aCommonConfig()
  t.false(driver.negotiate(0n))
  t.true(driver.negotiate(version1))
})

test('features are settled by FEATURES_OK: what is written later changes nothing (§3.1.1)', t => {
  const { driver, device } = aCommonConfig()
  t.true(driver.negotiate(version1))
  driver.writeFeatures(version1 | (1n << 34n) | 1n)
  driver.addStatus(driverOk)
  t.is(device.calls.at(-1), `negotiated ${version1.toString(16)}`)
  driver.write('driverFeatureSelect', 0)
  t.is(driver.read('driverFeature'), 0)
})

test('status bits add up until a reset, and NEEDS_RESET is the device’s', t => {
  const { driver } = aCommonConfig()
  driver.write('deviceStatus', acknowledge)
  driver.write('deviceStatus', driverBit)
  t.is(driver.status, acknowledge | driverBit, 'a driver cannot take bits back')
  driver.write('deviceStatus', needsReset | failed)
  t.is(driver.status, acknowledge | driverBit | failed)
  driver.write('deviceStatus', 0)
  t.is(driver.status, 0)
})

test('a driver that gives up is heard and nothing runs', t => {
  const { driver, device } = aCommonConfig()
  driver.negotiate(version1)
  driver.addStatus(failed)
  t.is(driver.status, acknowledge | driverBit | featuresOk | failed)
  t.is(device.backend.starts, 0)
})

test('vectors beyond the table read as none', t => {
  const { driver } = aCommonConfig()
  for (const field of ['configVector', 'queueVector'] as const) {
    for (const vector of [0, 1, 2]) {
      driver.write(field, vector)
      t.is(driver.read(field), vector)
    }
    for (const vector of [3, 0x7fff, noVector]) {
      driver.write(field, 1)
      driver.write(field, vector)
      t.is(driver.read(field), noVector)
    }
  }
})

test('a queue that does not exist has size 0 and takes nothing', t => {
  const { driver } = aCommonConfig()
  for (const index of [2, 255, 0xffff]) {
    driver.write('queueSelect', index)
    t.is(driver.read('queueSelect'), index)
    t.is(driver.read('queueSize'), 0)
    t.is(driver.read('queueVector'), noVector)
    for (const field of ['queueSize', 'queueVector', 'queueEnable', 'queueDescriptors'] as const) {
      driver.write(field, 1)
    }
    driver.write('queueSelect', index)
    t.is(driver.read('queueSize'), 0)
    t.is(driver.read('queueVector'), noVector)
    t.is(driver.read('queueEnable'), 0)
    t.is(driver.read('queueDescriptors'), 0)
  }
  driver.write('queueSelect', 1)
  t.is(driver.read('queueSize'), 128)
})

test('queues are kept apart by the selector', t => {
  const { driver } = aCommonConfig()
  const fields = ['queueSize', 'queueVector', 'queueDescriptors', 'queueDriver', 'queueDevice'] as const
  const values = [
    [64, 1, 0x12_3456_7890, 0x11_0000_0000, 0x22_0000_1000],
    [32, 2, 0xffff_f000, 0x1000, 0x2000],
  ] as const
  for (const index of [0, 1] as const) {
    driver.write('queueSelect', index)
    fields.forEach((field, number) => {
      driver.write(field, values[index][number] ?? 0)
    })
  }
  for (const index of [0, 1] as const) {
    driver.write('queueSelect', index)
    t.deepEqual(
      fields.map(field => driver.read(field)),
      [...values[index]],
    )
    t.is(driver.read('queueNotifyOffset'), index)
  }
})

test('a queue takes powers of two up to its size and no other', t => {
  const { driver } = aCommonConfig()
  const sizeAfter = (size: number) => {
    driver.write('queueSize', size)
    driver.write('queueSelect', 0)
    return driver.read('queueSize')
  }
  t.is(sizeAfter(256), 256)
  t.is(sizeAfter(16), 16)
  for (const wrong of [0, 3, 255, 512, 0x8000, 0xffff]) t.is(sizeAfter(wrong), 16, `${wrong}`)
  t.is(sizeAfter(1), 1)
  t.is(sizeAfter(256), 256, 'the device’s own size can be had again')
})

test('a queue is enabled by 1 and only disabled by a reset', t => {
  const { driver } = aCommonConfig()
  driver.write('queueEnable', 2)
  t.is(driver.read('queueEnable'), 0)
  driver.write('queueEnable', 1)
  t.is(driver.read('queueEnable'), 1)
  driver.write('queueEnable', 0)
  t.is(driver.read('queueEnable'), 1, '§4.1.4.3.2: a driver must not write 0')
  driver.write('queueSelect', 1)
  t.is(driver.read('queueEnable'), 0)
  driver.write('deviceStatus', 0)
  t.is(driver.read('queueEnable'), 0)
})

test('vector and enable can be written at once', t => {
  const { driver, bus } = aCommonConfig()
  bus.write('mmio', driver.address('common') + commonConfig.queueVector, 4, 0x1_0002)
  t.is(driver.read('queueVector'), 2)
  t.is(driver.read('queueEnable'), 1)
})

test('the layout of an enabled queue is settled', t => {
  const { driver, device } = aCommonConfig()
  driver.negotiate(version1)
  driver.write('queueSize', 16)
  driver.write('queueDescriptors', 0x10_0000)
  driver.write('queueEnable', 1)
  driver.write('queueSize', 32)
  driver.write('queueDescriptors', 0x20_0000)
  driver.addStatus(driverOk)
  t.is(device.backend.rings[0]?.sizeEntries, 16)
  t.is(device.backend.rings[0]?.descriptorTable, 0x10_0000)
  t.is(driver.read('queueDescriptors'), 0x10_0000)
  t.is(driver.read('queueSize'), 16)
})

test('an address beyond all memory does not become another one', t => {
  const { bus, driver, device } = aCommonConfig()
  driver.negotiate(version1)
  for (const half of [0, 4]) {
    bus.write('mmio', driver.address('common') + commonConfig.queueDevice + half, 4, 0xffff_ffff)
  }
  driver.write('queueVector', 0)
  driver.write('queueEnable', 1)
  driver.addStatus(driverOk)
  t.is(device.backend.rings[0]?.usedRing, Number.MAX_SAFE_INTEGER)
})

test('queue reset is not offered, and its registers are not there', t => {
  const { driver, bus } = aCommonConfig()
  t.is(driver.offeredFeatures() & (1n << 40n), 0n)
  t.is(driver.structure('common').lengthBytes, 56)
  t.is(bus.read('mmio', driver.address('common') + 58, 2), 0xffff)
  bus.write('mmio', driver.address('common') + 58, 2, 1)
  t.is(driver.read('queueEnable'), 0)
})

test('a reset forgets all that the driver has said', async t => {
  const { driver, queues } = aCommonConfig()
  const fields = Object.keys(commonConfig).filter((name): name is keyof typeof commonConfig => name in commonConfig)
  const all = () => fields.map(field => [field, driver.read(field)])
  const fresh = all()
  await driver.begin(queues)
  driver.write('deviceFeatureSelect', 1)
  driver.write('driverFeatureSelect', 1)
  t.notDeepEqual(all(), fresh)
  await driver.reset()
  t.deepEqual(all(), fresh)
})

test('whatever is written to it in any width, a reset device negotiates', async t => {
  const aWrite = fc.record({
    offset: fc.integer({ min: 0, max: 0x80 }),
    width: fc.constantFrom(1, 2, 4),
    value: fc.oneof(fc.nat({ max: 0xffff_ffff }), fc.nat({ max: 15 }), fc.constant(0xffff_ffff)),
  })
  const holds = fc.asyncProperty(fc.array(aWrite, { maxLength: 60 }), async writes => {
    const { driver, bus, device, queues } = aCommonConfig()
    for (const { offset, width, value } of writes) {
      const known = width === 1 || width === 2 ? width : 4
      bus.write('mmio', driver.address('common') + offset, known, value % 2 ** (8 * known))
      bus.read('mmio', driver.address('common') + offset, known)
    }
    await driver.begin(queues)
    return device.backend.isRunning && device.backend.rings.length === 2 && device.backend.features === version1
  })
  await t.notThrowsAsync(fc.assert(holds))
})
