import test from 'ava'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { deviceStatus } from './common-config.ts'
import { commonFeatures } from './device.ts'
import { type NetOptions, netFeatures, VirtioNet } from './net.ts'
import { aBoard } from './testing/board.ts'
import { FakeBackend } from './testing/fake-backend.ts'

const { version1 } = commonFeatures
const { guestCsum, guestTso4, guestTso6, guestEcn, guestUfo, ctrlVq, ctrlGuestOffloads, multiQueue } = netFeatures
const ok = 0
const error = 1

function aCard(options: Partial<NetOptions> = {}) {
  const data = new FakeBackend()
  const control = new FakeBackend()
  const offloads: bigint[] = []
  const frames: Uint8Array[] = []
  let closed = 0
  const board = aBoard(
    new VirtioNet({
      ...{ name: '_net0', mac: Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56), mtu: undefined },
      ...{ queuePairs: 1, queueSize: 256, offloads: { tso: true, ufo: true, csum: true } },
      createBackend: data.serveFailures,
      createControl: control.serve,
      setGuestOffloads: features => offloads.push(features),
      sendFrame: frame => frames.push(frame),
      tapDescriptors: () => [],
      closeTap: () => {
        closed += 1
      },
      ...options,
    }),
  )
  const { driver, queues, device } = board
  driver.pci.enable(true)
  const command = (...bytes: number[]) => {
    control.offer(control.rings[0]?.index ?? -1, 0, bytes, 1)
    return control.take()[0]?.bytes[0]
  }
  return {
    ...{ ...board, data, control, offloads, frames, command, closed: () => closed },
    begin: (features: bigint) => driver.begin(queues, version1 | features),
    offers: (feature: bigint) => (device.features & feature) === feature,
    setPairs: (pairs: number) => command(4, 0, pairs % 256, Math.floor(pairs / 256)),
    setOffloads: (features: bigint) => command(5, 0, ...new Uint8Array(BigUint64Array.of(features).buffer)),
  }
}

test('the configuration has the layout of §5.1.4', t => {
  const { device, driver } = aCard({ queuePairs: 2, mtu: 1400 })
  t.is(device.type, 1)
  t.is(driver.readConfig(0, 4), 0x1200_5452)
  t.is(driver.readConfig(4, 2), 0x5634)
  t.is(driver.readConfig(6, 2), 1, 'the link is up')
  t.is(driver.readConfig(8, 2), 2)
  t.is(driver.readConfig(10, 2), 1400)
  t.is(driver.readConfig(12, 4), 0xffff_ffff)
  driver.writeConfig(0, 4, 0)
  t.is(driver.readConfig(0, 4), 0x1200_5452)
})

test('queues are pairs and one for control', t => {
  t.deepEqual(aCard().device.queueSizes, [256, 256, 64])
  t.deepEqual(aCard({ queuePairs: 3, queueSize: 128 }).device.queueSizes, [128, 128, 128, 128, 128, 128, 64])
})

test('features follow the options', t => {
  const all = aCard({ queuePairs: 2, mtu: 1400 })
  t.true(all.offers(netFeatures.mac | netFeatures.status | netFeatures.mergeableBuffers | ctrlVq))
  t.true(all.offers(netFeatures.csum | guestCsum | ctrlGuestOffloads | netFeatures.mtu | multiQueue))
  t.true(
    all.offers(guestTso4 | guestTso6 | guestEcn | netFeatures.hostTso4 | netFeatures.hostTso6 | netFeatures.hostEcn),
  )
  t.true(all.offers(guestUfo | netFeatures.hostUfo))
  const one = aCard()
  t.false(one.offers(netFeatures.mtu))
  t.false(one.offers(multiQueue))
  const plain = aCard({ offloads: { tso: true, ufo: true, csum: false } })
  const segmentation = guestTso4 | guestTso6 | guestEcn | guestUfo | netFeatures.hostTso4 | netFeatures.hostUfo
  t.is(plain.device.features & (segmentation | guestCsum | netFeatures.csum | ctrlGuestOffloads), 0n, '§5.1.3.1')
})

test('data queues go to the engine of the tap, the control queue to its own', async t => {
  for (const queuePairs of [1, 2]) {
    const { begin, data, control, device } = aCard({ queuePairs })
    await begin(ctrlVq | (queuePairs > 1 ? multiQueue : 0n))
    t.deepEqual(
      data.rings.map(({ index }) => index),
      Array.from({ length: 2 * queuePairs }, (_, index) => index),
    )
    t.deepEqual(
      control.rings.map(({ index }) => index),
      [2 * queuePairs],
    )
    t.is(device.backend.counters()['starts'], 1n)
  }
})

test('a driver that knows of one pair has its control queue right behind it (§5.1.2)', async t => {
  const { driver, queues, data, control } = aCard({ queuePairs: 2 })
  driver.negotiate(version1 | ctrlVq)
  queues.slice(0, 3).forEach((queue, index) => {
    driver.setUpQueue(index, queue)
  })
  driver.addStatus(deviceStatus.driverOk)
  t.deepEqual(
    data.rings.map(({ index }) => index),
    [0, 1],
  )
  t.deepEqual(
    control.rings.map(({ index }) => index),
    [2],
  )
})

test('the driver sets how many pairs are in use', async t => {
  const { begin, data, setPairs, transport, driver } = aCard({ queuePairs: 4 })
  await begin(ctrlVq | multiQueue)
  t.is(data.mode, 1)
  t.is(setPairs(4), ok)
  t.is(data.mode, 4)
  for (const wrong of [0, 5, 0x8000, 0xffff]) t.is(setPairs(wrong), error)
  t.is(data.mode, 4)
  await transport.pause()
  transport.resume()
  t.is(data.mode, 4, 'a pause keeps it')
  await driver.reset()
  await begin(ctrlVq | multiQueue)
  t.is(data.mode, 1)
})

test('more pairs are for a driver that negotiated them', async t => {
  const { driver, queues, data, setPairs } = aCard({ queuePairs: 2 })
  driver.negotiate(version1 | ctrlVq)
  queues.slice(0, 3).forEach((queue, index) => {
    driver.setUpQueue(index, queue)
  })
  driver.addStatus(deviceStatus.driverOk)
  t.is(setPairs(2), error)
  t.is(data.mode, 1)
})

test('offloads that the driver accepted are on from the start', async t => {
  const { begin, offloads } = aCard()
  await begin(ctrlVq | guestCsum | guestTso4)
  t.is(offloads.at(-1), guestCsum | guestTso4)
  await begin(ctrlVq)
  t.is(offloads.at(-1), 0n)
})

test('an offload without what it needs is off: hosts refuse it (§5.1.3.1)', async t => {
  const { begin, offloads } = aCard()
  await begin(guestTso4 | guestUfo)
  t.is(offloads.at(-1), 0n)
  await begin(guestCsum | guestEcn)
  t.is(offloads.at(-1), guestCsum)
})

test('the driver turns offloads on and off, among those that it accepted', async t => {
  const { begin, offloads, setOffloads } = aCard()
  await begin(ctrlVq | ctrlGuestOffloads | guestCsum | guestTso4)
  t.is(setOffloads(guestCsum), ok)
  t.is(offloads.at(-1), guestCsum)
  t.is(setOffloads(guestCsum | guestTso4), ok)
  const before = offloads.length
  t.is(setOffloads(guestCsum | guestTso6), error, 'not accepted')
  t.is(setOffloads(guestTso4), error, 'not without checksums')
  t.is(setOffloads(1n << 63n), error)
  t.is(setOffloads(netFeatures.csum), error, 'not one of the guest’s')
  t.is(offloads.length, before)
})

test('offloads turned off stay off over a pause', async t => {
  const { begin, offloads, setOffloads, transport } = aCard()
  await begin(ctrlVq | ctrlGuestOffloads | guestCsum | guestTso4)
  t.is(setOffloads(0n), ok)
  await transport.pause()
  transport.resume()
  t.is(offloads.at(-1), 0n)
  await begin(ctrlVq | ctrlGuestOffloads | guestCsum)
  t.is(offloads.at(-1), guestCsum, 'the next driver has what it accepts')
})

test('offloads are not to be changed by a driver that did not negotiate it', async t => {
  const { begin, setOffloads } = aCard()
  await begin(ctrlVq | guestCsum)
  t.is(setOffloads(0n), error)
})

test('a host that refuses an offload is an error to the driver, not the end of the machine', async t => {
  let isRefusing = false
  const { begin, setOffloads, offloads } = aCard({
    setGuestOffloads: () => {
      if (isRefusing) throw Object.assign(new Error('Invalid argument'), { code: 'EINVAL' })
    },
  })
  await begin(ctrlVq | ctrlGuestOffloads | guestCsum | guestTso4)
  isRefusing = true
  t.is(setOffloads(guestCsum), error)
  t.deepEqual(offloads, [])
})

test('commands that are unknown or too short are errors', async t => {
  const { begin, command } = aCard({ queuePairs: 2 })
  await begin(ctrlVq | multiQueue | ctrlGuestOffloads | guestCsum)
  const wrong = [[], [4], [4, 0], [4, 0, 1], [4, 1, 1, 0], [5, 0], [5, 0, 2, 0, 0, 0, 0, 0, 0], [0, 0, 1], [255, 255]]
  for (const bytes of wrong) t.is(command(...bytes), error, bytes.join())
})

test('a command without room for its answer is carried out and goes back empty', async t => {
  const { begin, control, data } = aCard({ queuePairs: 2 })
  await begin(ctrlVq | multiQueue)
  control.offer(4, 9, [4, 0, 2, 0], 0)
  t.deepEqual(control.take(), [{ queue: 4, head: 9, bytes: [] }])
  t.is(data.mode, 2)
})

test('data queues outside memory need a reset, and then both engines start', async t => {
  const { begin, driver, data, control } = aCard()
  data.refusal = new RangeError('queue 0: the used ring is not in one run of guest memory')
  await begin(ctrlVq)
  t.is(driver.status & deviceStatus.needsReset, deviceStatus.needsReset)
  await begin(ctrlVq)
  t.is(driver.status & deviceStatus.needsReset, 0)
  t.true(data.isRunning)
  t.true(control.isRunning)
})

test('a broken queue of either engine needs a reset', async t => {
  for (const which of ['data', 'control'] as const) {
    const card = aCard()
    await card.begin(ctrlVq)
    card[which].fail(0, 'a loop')
    t.is(card.driver.status & deviceStatus.needsReset, deviceStatus.needsReset)
  }
})

test('closing closes both engines and the tap', async t => {
  const { transport, device, data, control, closed } = aCard()
  await transport.close()
  await device.close()
  t.true(data.isClosed)
  t.true(control.isClosed)
  t.is(closed(), 1)
})

test('active pairs and offloads travel', async t => {
  const card = aCard({ queuePairs: 2 })
  await card.begin(ctrlVq | multiQueue | guestCsum | guestTso4 | ctrlGuestOffloads)
  t.is(card.setPairs(2), ok)
  t.is(card.setOffloads(guestCsum), ok)
  const other = aCard({ queuePairs: 2 })
  moveState(card.device, other.device)
  other.device.negotiated(version1 | guestCsum | guestTso4)
  t.is(other.data.mode, 2)
  t.is(other.offloads.at(-1), guestCsum)
  holdsItsState(t, card.device)
})

test('more pairs than there are, and offloads that are not offered, are refused', t => {
  const card = aCard({ queuePairs: 2 })
  const { state } = card.device
  if (state.kind !== 'saved') return t.fail()
  const code = 'ERR_STATE_INVALID'
  const load = (given: unknown) => () => state.part.load(given)
  t.throws(load({ activePairs: 3 }), { code, message: '_net0: it was saved with 3 active queue pairs and has 2' })
  t.throws(load({ activePairs: 1, guestOffloads: 1n << 40n }), { code, message: /_net0: it has no offloads 0x/ })
})

test('a card that has moved is announced by its driver, and by itself', async t => {
  const { device, transport, driver, command, begin, frames } = aCard()
  const acknowledge = () => command(3, 0)
  // As a machine does.
  const stopAndGo = async () => {
    await transport.pause()
    await device.pause()
    device.resume()
    transport.resume()
  }
  await begin(ctrlVq | netFeatures.guestAnnounce | netFeatures.status)
  await stopAndGo()
  t.deepEqual(frames, [], 'it has not moved')
  device.moved()
  await stopAndGo()
  t.is(driver.readConfig(6, 2), 3)
  t.is(acknowledge(), ok)
  t.is(driver.readConfig(6, 2), 1)
  const [frame] = frames
  t.is(
    Buffer.from(frame ?? [])
      .toString('hex')
      .replace(/0+$/, ''),
    'ffffffffffff5254001234568035000108000604000352540012345600000000525400123456',
  )
  await device.close()
})

test('a card that arrives is announced by the driver that it had elsewhere', async t => {
  const [card, other] = [aCard(), aCard()]
  await card.begin(ctrlVq | netFeatures.guestAnnounce | netFeatures.status)
  await card.transport.pause()
  const parts = [card.device.state, card.transport.state, other.device.state, other.transport.state]
  const [device, transport, itsDevice, itsTransport] = parts.map(state =>
    state.kind === 'saved' ? state.part : undefined,
  )
  await other.transport.pause()
  itsDevice?.load(device?.save())
  itsTransport?.load(transport?.save())
  other.device.moved()
  other.device.resume()
  other.transport.resume()
  t.is(other.driver.readConfig(6, 2), 3)
  await other.device.close()
})

test('a driver that knows nothing of announcements is not asked for one', async t => {
  const { device, transport, driver, command, begin, frames } = aCard()
  await begin(ctrlVq)
  await transport.pause()
  device.moved()
  device.resume()
  transport.resume()
  t.is(driver.readConfig(6, 2), 1)
  t.is(command(3, 0), error)
  t.is(frames.length, 1)
  await device.close()
})
