import test from 'ava'
import { InterruptRoutes } from '../interrupts/routes.ts'
import { FakeGateway } from '../interrupts/testing/fake-gateway.ts'
import { pciHeader } from '../pci/config-space.ts'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { deviceStatus } from './common-config.ts'
import { commonFeatures } from './device.ts'
import { aBoard, barAddress } from './testing/board.ts'
import { FakeDevice } from './testing/fake-device.ts'

const { driverOk, needsReset } = deviceStatus
const { version1 } = commonFeatures
const elsewhere = 0xc000_0000

function aTransport(options: ConstructorParameters<typeof FakeDevice>[0] = {}) {
  const board = aBoard(new FakeDevice(options))
  board.driver.pci.enable(true)
  return board
}

async function aRunningTransport() {
  const board = aTransport()
  await board.driver.begin(board.queues)
  return board
}

test('DRIVER_OK starts the back end with what was negotiated and set up', async t => {
  const { device, driver, queues, transport } = await aRunningTransport()
  const { backend } = device
  t.true(backend.isRunning)
  t.is(backend.features, version1)
  t.deepEqual(device.calls, ['reset', `negotiated ${version1.toString(16)}`])
  t.deepEqual(
    backend.rings.map(ring => [ring.index, ring.sizeEntries, ring.descriptorTable, ring.availableRing, ring.usedRing]),
    queues.map((queue, index) => [
      ...[index, queue.sizeEntries, queue.descriptorTable, queue.availableRing, queue.usedRing],
    ]),
  )
  t.true(backend.rings.every(ring => ring.nextAvailable === 0 && ring.nextUsed === 0))
  driver.addStatus(driverOk)
  transport.resume()
  t.is(backend.starts, 1, 'once')
})

test('only enabled queues are served', t => {
  const { device, driver, queues } = aTransport()
  const [, second] = queues
  t.true(driver.negotiate(version1))
  if (second !== undefined) driver.setUpQueue(1, second)
  driver.addStatus(driverOk)
  t.deepEqual(
    device.backend.rings.map(ring => ring.index),
    [1],
  )
})

test('DRIVER_OK without FEATURES_OK starts nothing, not even at a resume', async t => {
  const { device, driver, transport } = aTransport()
  t.false(driver.negotiate(version1 | 1n))
  driver.write('queueEnable', 1)
  driver.addStatus(driverOk)
  t.is(device.backend.starts, 0)
  await transport.pause()
  transport.resume()
  t.is(device.backend.starts, 0)
})

test('queues and configuration changes interrupt with the vectors that they were given', async t => {
  const { device, interrupts } = await aRunningTransport()
  device.backend.rings[0]?.interrupt.signal()
  t.deepEqual(interrupts(), [1])
  device.backend.rings[1]?.interrupt.signal()
  t.deepEqual(interrupts(), [2])
  device.events.configChanged()
  t.deepEqual(interrupts(), [0])
})

test('a queue without vector interrupts nobody', t => {
  const { device, driver, queues, interrupts } = aTransport()
  driver.negotiate(version1)
  driver.enableMsix(3)
  queues.forEach((queue, index) => {
    driver.setUpQueue(index, queue)
  })
  driver.addStatus(driverOk)
  for (const ring of device.backend.rings) ring.interrupt.signal()
  device.events.configChanged()
  t.deepEqual(interrupts(), [])
})

test('the device’s configuration is read in every width, and what it says changes with it', async t => {
  const { device, driver, bus } = await aRunningTransport()
  t.is(driver.readConfig(0, 4), 0x0403_0201)
  t.is(driver.readConfig(1, 2), 0x0302)
  t.is(driver.readConfig(7, 1), 8)
  t.is(driver.readConfig(8, 4), 0xffff_ffff, 'there is no more of it')
  driver.writeConfig(0, 4, 0)
  t.is(driver.readConfig(0, 4), 0x0403_0201)
  driver.writeConfig(5, 1, 0x66)
  t.is(device.calls.at(-1), 'write 5/1=102')
  t.is(driver.readConfig(4, 4), 0x0807_6605)
  const before = bus.counters.trapped
  driver.readConfig(0, 4)
  t.is(bus.counters.trapped, before, 'reading costs no trap')
})

test('a changed configuration shows in bytes, generation, ISR and interrupt, in one step', async t => {
  const { device, driver, interrupts } = await aRunningTransport()
  t.is(driver.read('configGeneration'), 0)
  t.is(driver.readIsr(), 0)
  device.config[0] = 0x99
  t.is(driver.readConfig(0, 1), 1, 'not before the device says so')
  device.events.configChanged()
  t.is(driver.readConfig(0, 1), 0x99)
  t.is(driver.read('configGeneration'), 2, 'before and after')
  t.deepEqual(interrupts(), [0])
  for (let change = 2; change <= 300; change += 1) device.events.configChanged()
  t.is(driver.read('configGeneration'), 600 % 256, 'it wraps')
})

test('reading the ISR clears it', async t => {
  const { bus, device, driver } = await aRunningTransport()
  device.events.configChanged()
  bus.write('mmio', driver.address('isr'), 1, 0)
  t.is(driver.readIsr(), 2)
  t.is(driver.readIsr(), 0)
  device.events.configChanged()
  await driver.reset()
  t.is(driver.readIsr(), 0)
})

test('a device that cannot go on says so in its status and interrupts, and begins anew after a reset', async t => {
  const { device, driver, queues, interrupts, broken } = await aRunningTransport()
  device.events.needsReset('queue 0: a loop')
  t.is(driver.status & needsReset, needsReset)
  t.is(driver.readIsr(), 2)
  t.deepEqual(interrupts(), [0])
  device.events.needsReset('queue 1: a loop')
  t.deepEqual(broken, ['queue 0: a loop'], 'said once until the reset')
  driver.write('deviceStatus', driver.status & ~needsReset)
  t.is(driver.status & needsReset, needsReset, 'only a reset helps')
  await driver.begin(queues)
  t.is(driver.status & needsReset, 0)
  t.is(device.backend.starts, 2)
  t.true(device.backend.isRunning)
})

test('before DRIVER_OK a failure interrupts nobody (§2.1.2)', t => {
  const { device, driver, interrupts } = aTransport()
  driver.negotiate(version1)
  driver.enableMsix(1)
  driver.write('configVector', 0)
  device.events.needsReset('no reason')
  t.is(driver.status & needsReset, needsReset)
  t.deepEqual(interrupts(), [])
  driver.addStatus(driverOk)
  t.is(device.backend.starts, 0)
})

test('rings that are not in guest memory, and hosts that cannot serve them, put the device into NEEDS_RESET', async t => {
  const exhausted = Object.assign(new Error('Resource temporarily unavailable'), { code: 'EAGAIN' })
  for (const refusal of [new RangeError('queue 0: the used ring is not in one run of guest memory'), exhausted]) {
    const { device, driver, queues, interrupts } = aTransport()
    device.backend.refusal = refusal
    await driver.begin(queues)
    t.is(driver.status & needsReset, needsReset)
    t.deepEqual(interrupts(), [0])
    await driver.begin(queues)
    t.is(driver.status & needsReset, 0)
    t.true(device.backend.isRunning)
  }
})

test('a mistake of our own at the start is not the guest’s', t => {
  const { device, driver } = aTransport()
  driver.negotiate(version1)
  device.backend.refusal = new TypeError('vrings must be an array')
  t.throws(() => driver.addStatus(driverOk), { instanceOf: TypeError })
})

test('a reset ends when the back end has stopped, and not before', async t => {
  const { device, driver, queues } = await aRunningTransport()
  device.backend.holdStops()
  driver.write('deviceStatus', 0)
  t.not(driver.status, 0)
  driver.write('deviceStatus', 0)
  t.not(driver.status, 0, 'asking twice does not help')
  await device.backend.release()
  t.is(driver.status, 0)
  t.false(device.backend.isRunning)
  await driver.begin(queues)
  t.true(device.backend.isRunning)
})

test('a driver that does not wait for the end of its reset starts nothing', async t => {
  const { device, driver, queues } = await aRunningTransport()
  device.backend.holdStops()
  driver.write('deviceStatus', 0)
  driver.negotiate(version1)
  driver.addStatus(driverOk)
  await device.backend.release()
  t.is(driver.status, 0)
  t.is(device.backend.starts, 1)
  await driver.begin(queues)
  t.is(device.backend.starts, 2)
})

test('pause stops the back end, resume goes on where it was', async t => {
  const { device, transport } = await aRunningTransport()
  device.backend.served = 3
  await transport.pause()
  await transport.pause()
  t.false(device.backend.isRunning)
  transport.resume()
  transport.resume()
  t.is(device.backend.starts, 2)
  t.deepEqual(
    device.backend.rings.map(({ nextAvailable, nextUsed }) => [nextAvailable, nextUsed]),
    [
      [3, 3],
      [3, 3],
    ],
  )
  t.is(device.backend.features, version1)
})

test('a device that was never started stays so over pause and resume', async t => {
  const { device, driver, transport } = aTransport()
  driver.negotiate(version1)
  await transport.pause()
  transport.resume()
  t.is(device.backend.starts, 0)
  driver.addStatus(driverOk)
  t.is(device.backend.starts, 0, 'no queue is enabled')
})

test('a driver that becomes ready while the machine is paused waits for the resume', async t => {
  const { device, driver, queues, transport } = aTransport()
  driver.negotiate(version1)
  queues.forEach((queue, index) => {
    driver.setUpQueue(index, queue)
  })
  await transport.pause()
  driver.addStatus(driverOk)
  t.is(device.backend.starts, 0)
  transport.resume()
  t.is(device.backend.starts, 1)
})

test('a resume during a reset starts nothing', async t => {
  const { device, driver, transport } = await aRunningTransport()
  device.backend.holdStops()
  driver.write('deviceStatus', 0)
  t.notThrows(() => transport.resume())
  await device.backend.release()
  t.is(driver.status, 0)
  t.is(device.backend.starts, 1)
})

test('a failure found while pausing outlives it', async t => {
  const { device, driver, queues, transport } = await aRunningTransport()
  device.backend.holdStops()
  const paused = transport.pause()
  device.events.needsReset('queue 0: a loop')
  await device.backend.release()
  await paused
  transport.resume()
  t.is(driver.status & needsReset, needsReset)
  t.is(device.backend.starts, 1)
  await driver.begin(queues)
  t.is(device.backend.starts, 2)
})

test('a pause waits for a reset that is under way', async t => {
  const { device, driver, transport } = await aRunningTransport()
  device.backend.holdStops()
  driver.write('deviceStatus', 0)
  let isPaused = false
  const paused = transport.pause().then(() => {
    isPaused = true
  })
  await new Promise(resolve => setImmediate(resolve))
  t.false(isPaused)
  await device.backend.release()
  await paused
  t.is(driver.status, 0)
  transport.resume()
  t.is(device.backend.starts, 1)
})

test('a machine’s reset leaves a fresh function', async t => {
  const { device, driver, queues, transport, doorbells, interrupts } = aTransport()
  const { pci } = driver
  pci.enable(false)
  const configBytes = () => Array.from({ length: 64 }, (_, index) => pci.read(4 * index, 4))
  const fresh = configBytes()
  await driver.begin(queues)
  pci.moveBar(0, elsewhere)
  driver.readThroughConfig(20, 1)
  await transport.pause()
  transport.reset()
  transport.resume()
  t.deepEqual(configBytes(), fresh)
  t.is(pci.barAddress(0), barAddress)
  t.is(doorbells.attached.size, 0)
  t.is(device.calls.at(-1), 'reset')
  pci.enable(true)
  t.is(driver.status, 0)
  await driver.begin(queues)
  device.backend.rings[0]?.interrupt.signal()
  t.deepEqual(interrupts(), [1])
})

test('closing gives everything back, in any state, and twice is once', async t => {
  for (const state of ['fresh', 'running', 'resetting'] as const) {
    const { device, driver, queues, transport, doorbells, gateway } = aTransport()
    if (state !== 'fresh') await driver.begin(queues)
    if (state === 'resetting') driver.write('deviceStatus', 0)
    await transport.close()
    const calls = device.calls.length
    await transport.close()
    await new Promise(resolve => setImmediate(resolve))
    t.true(device.backend.isClosed)
    t.is(device.calls.length, calls, 'nothing happens to the device later')
    t.is(doorbells.attached.size, 0)
    t.is(gateway.attached.size, 0)
    t.true(gateway.eventFds.every(each => each.isClosed))
    t.is(driver.pci.read(pciHeader.vendor, 2), 0xffff, 'its slot is empty')
    t.is(driver.status, 0xff, state)
  }
})

test('a device that is being closed is out of the guest’s sight at once, and is not started again', async t => {
  const { device, driver, queues, transport, doorbells } = aTransport()
  await driver.begin(queues)
  device.backend.holdStops()
  const closed = transport.close()
  t.is(driver.pci.read(pciHeader.vendor, 2), 0xffff)
  t.is(driver.status, 0xff)
  t.is(doorbells.attached.size, 0)
  transport.resume()
  await device.backend.release()
  await closed
  t.is(device.backend.starts, 1)
  t.true(device.backend.isClosed)
})

test('a transport that cannot be made leaves nothing behind', t => {
  const gateway = new FakeGateway()
  const options = { router: new InterruptRoutes(gateway, 24), createEventFd: () => gateway.createEventFd() }
  // Three vectors, two doorbells, and what nobody listens to.
  for (let descriptors = 0; descriptors < 6; descriptors += 1) {
    gateway.descriptorsLeft = descriptors
    t.throws(() => aBoard(new FakeDevice(), options), { message: 'eventfd: no more' })
    t.true(gateway.eventFds.every(each => each.isClosed))
  }
  gateway.descriptorsLeft = 7
  t.notThrows(() => aBoard(new FakeDevice(), options))
  t.is(options.router.allocate().gsi, 24 + 3)
})

test('a running device goes on in another machine where it was', async t => {
  const from = await aRunningTransport()
  from.device.backend.served = 7
  await from.transport.pause()
  const to = aTransport()
  await to.transport.pause()
  moveState(from.transport, to.transport)
  t.false(to.device.backend.isRunning)
  to.transport.resume()
  t.true(to.device.backend.isRunning)
  t.is(to.device.backend.features, version1)
  t.deepEqual(
    to.device.backend.rings.map(({ nextAvailable, nextUsed }) => [nextAvailable, nextUsed]),
    [
      [7, 7],
      [7, 7],
    ],
  )
  t.is(to.driver.status, from.driver.status)
  to.device.backend.rings[0]?.interrupt.signal()
  t.deepEqual(to.interrupts(), [1])
})

test('whatever its state, a transport keeps it or refuses it by name', async t => {
  const { transport } = await aRunningTransport()
  await transport.pause()
  holdsItsState(t, transport, { runs: 500, exact: false })
})

test('a transport of another device, or with other queues or features, is refused', async t => {
  const { transport } = await aRunningTransport()
  await transport.pause()
  const code = 'ERR_STATE_INVALID'
  const name = '_virtio-pci-fake'
  const refused = (options: ConstructorParameters<typeof FakeDevice>[0], reason: string) => {
    t.throws(() => moveState(transport, aTransport(options).transport), { code, message: `${name}: ${reason}` })
  }
  refused({ type: 2 }, 'it was saved with a device of type 4 and has one of type 2')
  refused({ queueSizes: [256] }, 'it was saved with 2 queues and has 1')
  refused({ queueSizes: [8, 8] }, 'queue 0 was saved with 16 entries and has 8')
})
