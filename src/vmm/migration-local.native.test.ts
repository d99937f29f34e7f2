import { closeSync, fstatSync, openSync } from 'node:fs'
import test from 'ava'
import { addon } from '../native/addon.ts'
import { config, running, twoSides } from './testing/two-sides.ts'

test('a machine is handed over to another process of its host, and nothing is copied', async t => {
  const sides = await twoSides(t, { peerTimeoutMs: 2_000 }, 'direct')
  const { source, destination } = sides
  const file = openSync('/dev/null', 'r')
  source.machines.descriptors = new Array(300).fill(file)
  await sides.send({ isLocal: true })
  await sides.received
  t.is(running(sides), 'absent running')
  t.deepEqual(source.machines.steps, ['pause', 'cede', 'close'])
  t.true(source.machines.wasHandedOver)
  t.deepEqual(destination.machines.steps, ['build', 'pause', 'claim', 'skip-pause', 'resume'])
  const inherited = destination.machines.inherited ?? []
  t.is(inherited.length, 300)
  t.true(inherited.every(fd => fstatSync(fd).rdev === fstatSync(file).rdev && fd !== file))
  for (const fd of inherited) addon().closeDescriptor(fd)
  closeSync(file)
})

test('what cannot be handed over is refused by name before anything moves', async t => {
  const sides = await twoSides(t, {}, 'direct')
  sides.source.machines.failing.add('handover')
  await t.throwsAsync(sides.send({ isLocal: true }), { message: 'migration: it is private' })
  sides.source.machines.failing.clear()
  await t.throwsAsync(sides.source.vmm.sendMigration('tcp:localhost:1', { isLocal: true }), {
    code: 'ERR_MIGRATION_ADDRESS',
    message: /only over a Unix socket/,
  })
  await t.throwsAsync(sides.send({ isLocal: true, preserve: true }), { message: /nothing can be preserved/ })
  await t.throwsAsync(sides.send({ isLocal: true, postcopy: 'at-once' }), { message: /no memory is copied/ })
  await t.throwsAsync(sides.send({ isLocal: true, tlsDir: '/tls' }), { message: /do not go through TLS/ })
  t.is(running(sides), 'running receiving')
  t.deepEqual(sides.source.machines.steps, [])
})

test('a tap that came by descriptor goes on to be one, as long as the configuration names it', async t => {
  const file = openSync('/dev/null', 'r')
  const sides = await twoSides(t, {}, 'direct')
  const { source, destination } = sides
  await source.vmm.delete()
  await source.vmm.create({ ...config, net: [{ fds: [file], num_queues: 2 }] })
  await source.vmm.boot()
  await sides.send({ isLocal: true })
  await sides.received
  const [fd = -1] = destination.machines.configs.at(-1)?.net[0]?.fds ?? []
  t.not(fd, file)
  t.is(fstatSync(fd).rdev, fstatSync(file).rdev)
  await destination.vmm.shutdown()
  t.is(fstatSync(fd).rdev, fstatSync(file).rdev)
  await destination.vmm.delete()
  t.throws(() => fstatSync(fd), { code: 'EBADF' })
  closeSync(file)
})

test('a tap that came by descriptor is given back when its machine has moved', async t => {
  const sides = await twoSides(t, { overrides: { net: { uplink: { tap: 'tap7' } } } })
  const { vmm } = sides.source
  let closed = 0
  const close = () => {
    closed += 1
  }
  await vmm.delete()
  await vmm.create(config)
  const fds = [1_000_000]
  await vmm.addDevice('net', { id: 'uplink', fds, num_queues: 2 }, [{ fds, close }])
  await vmm.boot()
  await sides.send()
  await sides.received
  t.is(vmm.state, 'absent')
  t.is(closed, 1)
})

test('a machine that is handed over brings its devices', async t => {
  const elsewhere = { disks: { _disk0: { path: 'elsewhere' } } }
  const sides = await twoSides(t, { overrides: elsewhere }, 'direct')
  const message = 'it is handed over with its disks, which cannot be elsewhere'
  await t.throwsAsync(sides.send({ isLocal: true }), {
    message: `migration: the destination refuses: migration: ${message}`,
  })
  await t.throwsAsync(sides.received, { message: `migration: ${message}` })
  t.is(running(sides), 'running absent')
  t.deepEqual(sides.source.machines.steps, [])
})

test('a machine whose heir fails goes on', async t => {
  const sides = await twoSides(t, {}, 'direct')
  sides.destination.machines.failing.add('claim')
  await t.throwsAsync(sides.send({ isLocal: true }))
  await t.throwsAsync(sides.received)
  t.is(running(sides), 'running absent')
  t.deepEqual(sides.source.machines.steps, ['pause', 'cede', 'claim', 'resume'])
})
