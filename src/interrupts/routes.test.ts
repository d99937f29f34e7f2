import test from 'ava'
import fc from 'fast-check'
import { InterruptRoutes } from './routes.ts'
import { FakeGateway } from './testing/fake-gateway.ts'

const pins = 24
const address = 0xfee0_0000

function open(gsiLimit?: number) {
  const gateway = new FakeGateway(gsiLimit)
  return { gateway, routes: new InterruptRoutes(gateway, pins) }
}

test('messages are numbered behind the pins, and a number is free again once its route is closed', t => {
  const { routes, gateway } = open()
  t.is(routes.open(4).gsi, 4)
  const first = routes.allocate()
  t.is(first.gsi, pins)
  t.is(routes.allocate().gsi, pins + 1)
  first.close()
  first.close()
  t.true(gateway.eventFds[1]?.isClosed)
  t.is(routes.allocate().gsi, pins)
  t.throws(() => routes.open(4), { code: 'ERR_RESOURCE_EXHAUSTED', message: 'no pins left: 4 is in use' })
})

test('the limit is the hypervisor’s', t => {
  const { routes } = open(pins + 2)
  routes.allocate()
  routes.allocate()
  t.throws(() => routes.allocate(), {
    code: 'ERR_RESOURCE_EXHAUSTED',
    message: 'no interrupt routes left: the hypervisor has 26',
  })
})

test('a signal is an interrupt while unmasked, and pending while masked until it is delivered once', t => {
  const { routes, gateway } = open()
  const route = routes.allocate()
  route.setMessage(address, 0, 0x31)
  route.eventFd.signal()
  route.eventFd.signal()
  t.true(route.isPending())
  t.deepEqual(gateway.take(), [])
  route.unmask()
  t.deepEqual(gateway.take(), [{ addressLow: address, addressHigh: 0, data: 0x31 }])
  t.false(route.isPending())
  route.eventFd.signal()
  t.is(gateway.take().length, 1)
  route.mask()
  t.false(route.isPending())
  route.unmask()
  t.deepEqual(gateway.take(), [])
})

test('a route unmasked before it has a message begins with its message', t => {
  const { routes, gateway } = open()
  const route = routes.allocate()
  route.unmask()
  route.eventFd.signal()
  t.deepEqual(gateway.take(), [])
  route.setMessage(address, 0, 0x32)
  t.is(gateway.take()[0]?.data, 0x32)
})

test('the table is written only for routes that are in use and differ', t => {
  const { routes, gateway } = open()
  const [one, two] = [routes.allocate(), routes.allocate()]
  one.setMessage(address, 0, 0x41)
  two.setMessage(address, 0, 0x42)
  t.is(gateway.tableWrites, 0)
  one.unmask()
  t.is(gateway.tableWrites, 1)
  two.unmask()
  t.is(gateway.tableWrites, 1)
  one.mask()
  one.setMessage(address, 0, 0x43)
  one.setMessage(address, 0, 0x41)
  one.unmask()
  one.setMessage(address, 0, 0x41)
  t.is(gateway.tableWrites, 1)
  one.setMessage(address, 0, 0x44)
  t.is(gateway.tableWrites, 2)
  one.eventFd.signal()
  t.is(gateway.take()[0]?.data, 0x44)
})

test('a failed table write is tried again when the route is unmasked again', t => {
  const { routes, gateway } = open()
  const route = routes.allocate()
  const { setRoutes } = gateway
  route.setMessage(address, 0, 0x51)
  gateway.setRoutes = () => {
    throw new Error('ENOMEM')
  }
  t.throws(() => route.unmask(), { message: 'ENOMEM' })
  gateway.setRoutes = setRoutes
  route.unmask()
  route.eventFd.signal()
  t.is(gateway.take()[0]?.data, 0x51)
})

test('extended destinations move to where KVM expects them', t => {
  const { routes, gateway } = open()
  const route = routes.allocate()
  route.unmask()
  const written = () => gateway.table.map(({ addressLow, addressHigh }) => [addressLow, addressHigh])
  // Destination 0x1234: its low byte in bits 19:12, the rest in bits 11:5.
  route.setMessage((address | (0x34 << 12) | (0x12 << 5)) >>> 0, 0, 1)
  t.deepEqual(written(), [[address | (0x34 << 12), 0x1200].map(value => value >>> 0)])
  route.setMessage((address | 0x30) >>> 0, 0, 1)
  t.deepEqual(written(), [[address | 0x30, 0].map(value => value >>> 0)])
})

test('an upper address that KVM would refuse is cut', t => {
  const { routes, gateway } = open()
  const route = routes.allocate()
  route.unmask()
  route.setMessage(address, 0xffff_ffff, 1)
  t.is(gateway.table[0]?.addressHigh, 0xffff_ff00)
})

test('no interrupt is lost or doubled, whatever happens to routes and in which order', t => {
  const place = fc.nat(2)
  const step = fc.oneof(
    fc.record({ kind: fc.constant('signal' as const), place }),
    fc.record({ kind: fc.constant('mask' as const), place }),
    fc.record({ kind: fc.constant('unmask' as const), place }),
    fc.record({ kind: fc.constant('message' as const), place, data: fc.nat(3) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), steps => {
      const { routes, gateway } = open()
      const models = [0, 1, 2].map(() => {
        const route = routes.allocate()
        route.setMessage(address, 0, 0)
        return { route, isMasked: true, isPending: false, data: 0, due: [] as number[] }
      })
      let expected: number[] = []
      for (const each of steps) {
        const model = models[each.place]
        if (model === undefined) throw new Error('unreachable')
        // Each route's messages are its own.
        const tag = each.place * 16
        if (each.kind === 'signal') {
          model.route.eventFd.signal()
          if (model.isMasked) model.isPending = true
          else expected.push(model.data)
        } else if (each.kind === 'mask') {
          model.route.mask()
          model.isMasked = true
        } else if (each.kind === 'unmask') {
          model.route.unmask()
          if (model.isPending) expected.push(model.data)
          model.isMasked = false
          model.isPending = false
        } else {
          model.route.setMessage(address, 0, tag + each.data)
          model.data = tag + each.data
        }
        t.deepEqual(
          gateway.take().map(({ data }) => data),
          expected,
        )
        t.deepEqual(
          models.map(({ route }) => route.isPending()),
          models.map(({ isPending }) => isPending),
        )
        expected = []
      }
    }),
  )
})

test('while the machine is paused signals wait, and what was changed takes effect at the resume', async t => {
  const { routes, gateway } = open()
  const delivered = () => gateway.take().map(({ data }) => data)
  const [first, second] = [routes.allocate(), routes.allocate()]
  first.setMessage(address, 0, 1)
  first.unmask()
  await routes.pause()
  t.is(gateway.attached.size, 0)
  first.eventFd.signal()
  t.true(first.isPending())
  second.setMessage(address, 0, 2)
  second.unmask()
  t.is(gateway.attached.size, 0)
  t.deepEqual(delivered(), [])
  routes.resume()
  t.deepEqual(delivered(), [1])
  second.eventFd.signal()
  t.deepEqual(delivered(), [2])
})
