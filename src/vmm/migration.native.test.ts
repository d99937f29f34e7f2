import { closeSync, openSync } from 'node:fs'
import test from 'ava'
import * as z from 'zod/mini'
import { defineState } from '../state/schema.ts'
import { fakeSpeaker } from './testing/fake-machine.ts'
import { aSide, config, running, twoSides, until } from './testing/two-sides.ts'

test('a machine goes to another side, and is gone here', async t => {
  const sides = await twoSides(t)
  const { source, destination } = sides
  t.is(destination.vmm.state, 'receiving')
  await t.throwsAsync(destination.vmm.create(config), {
    code: 'ERR_VM_STATE',
    message: 'cannot create: the machine is receiving',
  })
  await sides.send()
  await sides.received
  t.is(running(sides), 'absent running')
  t.deepEqual(source.machines.steps, ['send', 'pause', 'send', 'cede', 'close'])
  t.deepEqual(destination.machines.steps, ['build', 'pause', 'claim', 'moved', 'skip-pause', 'resume'])
  t.deepEqual(destination.machines.options.cpu, { architecture: 'aarch64' })
  t.true(destination.machines.options.arrives)
  t.regex(destination.vmm.info().config.disks[0]?.path ?? '', /^\/.*a\.img$/)
  t.deepEqual(source.events, [
    ...[
      'migration-started',
      'migration-memory-iteration',
      'migration-memory-iteration',
      'migration-finished',
      'shutdown',
    ],
  ])
  t.deepEqual(destination.events, [
    'migration-receive-ready',
    'migration-receive-started',
    'migration-receive-finished',
  ])
})

test('the program ends when its machine has moved', async t => {
  const sides = await twoSides(t)
  const { vmm } = aSide(t, { outlivesVm: false })
  await vmm.create(config)
  await vmm.boot()
  await sides.send()
  t.is(running(sides).split(' ')[0], 'absent')
})

test('a paused machine arrives paused', async t => {
  const sides = await twoSides(t)
  await sides.source.vmm.pause()
  await sides.send()
  await sides.received
  t.is(running(sides), 'absent paused')
  t.false(sides.destination.machines.steps.includes('resume'))
  await sides.destination.vmm.resume()
  t.is(running(sides), 'absent running')
})

test('a machine that is paused on its way arrives paused, and one that is resumed runs', async t => {
  for (const [request, end] of [
    ['pause', 'absent paused'],
    ['resume', 'absent running'],
  ] as const) {
    const sides = await twoSides(t)
    if (request === 'resume') await sides.source.vmm.pause()
    const held = Promise.withResolvers<void>()
    sides.source.machines.delays.set('send', held.promise)
    const sent = sides.send()
    await until(() => sides.source.vmm.migrationProgress()?.phase === 'copying')
    await sides.source.vmm[request]()
    held.resolve()
    await sent
    await sides.received
    t.is(running(sides), end)
  }
})

test('a vCPU stands still to be described in its turn among the requests', async t => {
  const sides = await twoSides(t)
  const { machines, vmm } = sides.source
  const [held, asked] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let paused = Promise.resolve()
  sides.proxy.judge = type => {
    if (type === 'hello') paused = vmm.pause()
    if (type === 'welcome') asked.resolve()
    return 'pass'
  }
  machines.delays.set('pause', held.promise)
  const sent = sides.send()
  await asked.promise
  await new Promise(resolve => setTimeout(resolve, 50))
  held.resolve()
  await paused
  await sent
  await sides.received
  t.is(machines.stopsForCpu, 0, 'it is paused by then')
  t.is(running(sides), 'absent paused')
})

test('a reset that the guest has asked for is carried out before it leaves', async t => {
  const sides = await twoSides(t)
  const { machines } = sides.source
  machines.onStep = step => {
    if (step === 'pause' && !machines.steps.includes('reset')) machines.events?.reset()
  }
  await sides.send()
  await sides.received
  t.is(running(sides), 'absent running')
  const steps = ['pause', 'resume', 'pause', 'reset', 'load', 'resume', 'pause', 'send', 'cede', 'close']
  t.deepEqual(machines.steps.slice(1), steps)
})

test('a device that is removed on the way ends the migration, and none is added meanwhile', async t => {
  const sides = await twoSides(t)
  const { vmm, machines } = sides.source
  const id = vmm.info().config.disks[0]?.id ?? ''
  await vmm.removeDevice(id)
  const held = Promise.withResolvers<void>()
  machines.delays.set('send', held.promise)
  const sent = sides.send()
  await until(() => vmm.migrationProgress()?.phase === 'copying')
  await t.throwsAsync(vmm.addDevice('disks', { path: 'b.img' }), {
    message: 'cannot add-device: the machine is being moved',
  })
  machines.controller.onEject(machines.controller.unwanted[0] ?? -1)
  held.resolve()
  await t.throwsAsync(sent, { message: `migration: ${id} was removed meanwhile` })
  await t.throwsAsync(sides.received)
  t.is(running(sides), 'running absent')
})

test('a machine that is preserved is paused, and goes on only where nobody else has what is its own', async t => {
  const sides = await twoSides(t)
  const { source, destination } = sides
  await sides.send({ preserve: true })
  await sides.received
  t.is(running(sides), 'paused running')
  source.machines.failing.add('claim')
  await t.throwsAsync(source.vmm.resume(), { message: 'claim fails' })
  await t.throwsAsync(source.vmm.reboot(), { message: 'claim fails' })
  await t.throwsAsync(source.vmm.resizeDisk('_disk0', 2 ** 20), { message: 'claim fails' })
  t.is(running(sides), 'paused running')
  await destination.vmm.delete()
  source.machines.failing.clear()
  await source.vmm.resume()
  t.deepEqual(source.machines.steps.slice(-2), ['claim', 'resume'])
})

test('what the destination refuses is said on both sides, and the source was not even paused', async t => {
  const sides = await twoSides(t)
  sides.destination.machines.failing.add('build')
  await t.throwsAsync(sides.send(), {
    code: 'ERR_MIGRATION',
    message: 'migration: the destination refuses: build fails',
  })
  await t.throwsAsync(sides.received, { message: 'build fails' })
  t.is(running(sides), 'running absent')
  t.deepEqual(sides.source.machines.steps, [])
  t.deepEqual(sides.source.events, ['migration-failed'])
  t.is(sides.destination.events.at(-1), 'migration-receive-failed')
  // Both can try again.
  sides.destination.machines.failing.clear()
  const again = await sides.receive()
  await sides.send()
  await again.received
  t.is(running(sides), 'absent running')
})

test('things of the host can be elsewhere at the destination', async t => {
  const sides = await twoSides(t, { overrides: { disks: { _disk0: { path: '/b.img' } } } })
  await sides.send()
  await sides.received
  t.is(sides.destination.vmm.info().config.disks[0]?.path, '/b.img')
  const other = await twoSides(t, { overrides: { disks: { _disk7: { path: '/b.img' } } } })
  await t.throwsAsync(other.send(), { message: 'migration: the destination refuses: there is no device _disk7' })
  await t.throwsAsync(other.received, { code: 'ERR_DEVICE_UNKNOWN' })
})

test('versions of the protocol that meet are spoken, and others refused by both sides in one line', async t => {
  const speaks = (oldest: number, newest: number) => ({ ...fakeSpeaker(), protocol: { oldest, newest } })
  for (const [from, to] of [
    [speaks(1, 2), speaks(1, 1)],
    [speaks(1, 1), speaks(1, 2)],
  ] as const) {
    const sides = await twoSides(t, { speaker: to })
    await sides.send({ speaker: from })
    await sides.received
    t.is(running(sides), 'absent running')
  }
  const sides = await twoSides(t)
  await t.throwsAsync(sides.send({ speaker: speaks(2, 3) }), {
    message: 'migration: the destination refuses: it speaks version 2 to 3 of the protocol, and 1 is spoken here',
  })
  // Whoever that was: it goes on waiting.
  await sides.send()
  await sides.received
  t.is(running(sides), 'absent running')
})

test('states are written as the destination can read them, or nothing is begun', async t => {
  const older = fakeSpeaker(1)
  for (const [from, to] of [
    [fakeSpeaker(2), older],
    [older, fakeSpeaker(2)],
  ] as const) {
    const sides = await twoSides(t, { speaker: to })
    sides.source.machines.registerVersion = from.schemas[0]?.version ?? 0
    sides.destination.machines.registerVersion = to.schemas[0]?.version ?? 0
    await sides.send({ speaker: from })
    await sides.received
    t.is(running(sides), 'absent running')
  }
  const unknown = { ...fakeSpeaker(), schemas: [defineState('other', z.strictObject({}))] }
  const sides = await twoSides(t, { speaker: unknown })
  await t.throwsAsync(sides.send(), {
    message:
      'migration: the destination is too old: fake-register: it knows no version of fake-register, and 1 is the oldest that can be written',
  })
  t.deepEqual(sides.source.machines.steps, [])
})

test('a migration is given up by either side, and by whoever has begun it', async t => {
  const held = Promise.withResolvers<void>()
  const sides = await twoSides(t)
  sides.source.machines.delays.set('send', held.promise)
  const sent = sides.send()
  await until(() => sides.source.vmm.migrationProgress()?.phase === 'copying')
  await t.throwsAsync(sides.source.vmm.snapshot('/nowhere'), {
    code: 'ERR_VM_STATE',
    message: 'cannot snapshot: the machine is being moved',
  })
  await t.throwsAsync(sides.send(), { message: 'cannot send-migration: the machine is being moved' })
  sides.source.vmm.cancelMigration()
  held.resolve()
  await t.throwsAsync(sent, { code: 'ERR_ABORTED', message: 'the migration was aborted' })
  await t.throwsAsync(sides.received, { message: 'migration: the source gives up: the migration was aborted' })
  t.is(running(sides), 'running absent')
  t.is(sides.source.vmm.migrationProgress(), undefined)

  const { received } = await sides.receive()
  sides.destination.vmm.cancelMigration()
  await t.throwsAsync(received, { code: 'ERR_ABORTED' })
  t.is(running(sides), 'running absent')

  const given = new AbortController()
  given.abort(new Error('enough'))
  await t.throwsAsync(sides.send({ signal: given.signal }), { message: 'enough' })
})

test('a guest that ends while it moves has ended, and nothing is left on the other side', async t => {
  const sides = await twoSides(t)
  const held = Promise.withResolvers<void>()
  sides.source.machines.delays.set('send', held.promise)
  const sent = sides.send()
  await until(() => sides.source.vmm.migrationProgress()?.phase === 'copying')
  sides.source.machines.events?.powerOff()
  held.resolve()
  await t.throwsAsync(sent, { message: 'migration: the machine has ended' })
  await t.throwsAsync(sides.received)
  t.is(running(sides), 'created absent')
  t.is(sides.destination.machines.steps.at(-1), 'close')
})

for (const step of ['pause', 'cede'] as const) {
  test(`a machine whose ${step} fails stays where it is and goes on`, async t => {
    const sides = await twoSides(t)
    sides.source.machines.failing.add(step)
    await t.throwsAsync(sides.send(), { message: new RegExp(`${step} fails`) })
    await t.throwsAsync(sides.received)
    t.is(running(sides), 'running absent')
    t.is(sides.source.machines.steps.at(-1), 'resume')
    t.is(sides.destination.machines.steps.at(-1), 'close')
  })
}

test('a destination that cannot get what is the machine’s own gives it back', async t => {
  const sides = await twoSides(t)
  sides.destination.machines.failing.add('claim')
  await t.throwsAsync(sides.send(), { message: 'migration: the destination gives up: claim fails' })
  await t.throwsAsync(sides.received, { message: 'claim fails' })
  t.is(running(sides), 'running absent')
  t.deepEqual(sides.source.machines.steps.slice(-3), ['cede', 'claim', 'resume'])
})

test('a machine that cannot go on at its destination is paused there, and nothing is lost', async t => {
  const sides = await twoSides(t)
  sides.destination.machines.failing.add('resume')
  await sides.send()
  await sides.received
  t.is(running(sides), 'absent paused')
  t.true(sides.destination.events.includes('migration-receive-paused'))
  sides.destination.machines.failing.clear()
  await sides.destination.vmm.resume()
  t.is(running(sides), 'absent running')
})

/** The connection ends at this message, in place of it or behind it. */
for (const type of ['hello', 'machine', 'accepted', 'pass', 'state', 'ready'] as const) {
  for (const fate of ['cut', 'pass-and-cut'] as const) {
    // Behind these the machine may have gone before the end is noticed.
    if ((type === 'state' || type === 'ready') && fate === 'pass-and-cut') continue
    test(`a connection that ends with ${type} (${fate}) leaves the machine where it was`, async t => {
      const sides = await twoSides(t)
      sides.proxy.judge = each => (each === type ? fate : 'pass')
      await t.throwsAsync(sides.send(), { code: 'ERR_MIGRATION' })
      t.is(running(sides).split(' ')[0], 'running')
      sides.proxy.judge = () => 'pass'
      if (type === 'hello') sides.destination.vmm.cancelMigration()
      await t.throwsAsync(sides.received)
      t.is(running(sides), 'running absent')
      t.not(sides.destination.machines.steps.at(-1), 'resume')
    })
  }
}

for (const [type, fate] of [
  ['ready', 'pass-and-cut'],
  ['commit', 'cut'],
  ['commit', 'pass-and-cut'],
  ['owned', 'cut'],
  ['owned', 'pass-and-cut'],
] as const) {
  test(`both sides that have lost each other at ${type} (${fate}) meet again, and one has the machine`, async t => {
    const sides = await twoSides(t)
    let isFirst = true
    sides.proxy.judge = each => {
      if (each !== type || !isFirst) return 'pass'
      isFirst = false
      return fate
    }
    await sides.send()
    await sides.received
    t.is(running(sides), 'absent running')
  })
}

test('an older and a newer release hand machines over to each other', async t => {
  for (const [from, to] of [
    [1, 2],
    [2, 1],
  ] as const) {
    const sides = await twoSides(t, { speaker: fakeSpeaker(to) }, 'direct')
    sides.source.machines.registerVersion = from
    sides.destination.machines.registerVersion = to
    await sides.send({ isLocal: true, speaker: fakeSpeaker(from) })
    await sides.received
    t.is(running(sides), 'absent running')
  }
})

test('a component that came without its machine is nobody’s', async t => {
  const sides = await twoSides(t, {}, 'direct')
  sides.destination.machines.takes = 'something else'
  const file = openSync('/dev/null', 'r')
  sides.source.machines.descriptors = [file]
  await t.throwsAsync(sides.send({ isLocal: true }), { message: /fake is handed over, and it has no such device/ })
  await t.throwsAsync(sides.received)
  closeSync(file)
  t.is(running(sides), 'running absent')
  t.deepEqual(sides.source.machines.steps, [])
})
