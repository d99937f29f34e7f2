import test from 'ava'
import { aBoard } from './testing/board.ts'
import { FakeDevice } from './testing/fake-device.ts'

const elsewhere = 0xc000_0000

async function aRunningTransport() {
  const board = aBoard(new FakeDevice())
  await board.driver.begin(board.queues)
  return board
}

test('notifications ring the queue’s doorbell, in the kernel and through the bus', async t => {
  const { device, driver, doorbells } = await aRunningTransport()
  for (const index of [0, 1]) {
    const doorbell = device.backend.rings[index]?.doorbell
    t.is(doorbells.attached.get(driver.notifyAddress(index)), doorbell)
    driver.notify(index)
    t.true(doorbell?.drain())
  }
  t.is(doorbells.attached.size, 2)
})

test('notifications of queues that are not there, or beside a doorbell, ring nothing', async t => {
  const { bus, device, driver } = await aRunningTransport()
  const base = driver.address('notify')
  for (const offset of [1, 2, 3, 5, 8, 0xffc]) bus.write('mmio', base + offset, 1, 0)
  t.false(device.backend.rings.some(ring => ring.doorbell.isPending()))
})

test('doorbells and registers move with the BAR', async t => {
  const { device, driver, doorbells } = await aRunningTransport()
  driver.pci.moveBar(0, elsewhere)
  t.is(driver.notifyAddress(1), elsewhere + 0x6004)
  t.deepEqual([...doorbells.attached.keys()], [elsewhere + 0x6000, elsewhere + 0x6004])
  t.is(driver.readConfig(0, 4), 0x0403_0201)
  driver.notify(1)
  t.true(device.backend.rings[1]?.doorbell.isPending())
  driver.pci.enable(false)
  t.is(doorbells.attached.size, 0)
  driver.pci.enable(true)
  t.is(doorbells.attached.size, 2)
})

test('a reset forgets notifications that nobody has heard', async t => {
  const { device, driver } = await aRunningTransport()
  const doorbell = device.backend.rings[0]?.doorbell
  driver.notify(0)
  t.true(doorbell?.isPending())
  await driver.reset()
  t.false(doorbell?.isPending())
})
