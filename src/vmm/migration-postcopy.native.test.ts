import test, { type ExecutionContext } from 'ava'
import { running, twoSides, until } from './testing/two-sides.ts'

/** A machine that goes on at the other side; the rest of its memory waits for `follow`. */
async function late(t: ExecutionContext) {
  const sides = await twoSides(t)
  const held = Promise.withResolvers<void>()
  sides.source.machines.delays.set('send', held.promise)
  const sent = sides.send({ postcopy: 'at-once', peerTimeoutMs: 2_000 })
  sent.catch(() => {})
  await sides.received
  await until(() => sides.source.vmm.migrationProgress()?.phase === 'completing')
  return { ...sides, sent, follow: held.resolve }
}

test('a machine can go on at the other side before its memory is there', async t => {
  const sides = await late(t)
  t.is(running(sides), 'moving running')
  t.deepEqual(sides.source.machines.steps, ['pause', 'cede'])
  t.false(sides.destination.events.includes('postcopy-migration-completed'))
  const message = 'migration: the rest of its memory is on its way here still'
  await t.throwsAsync(sides.destination.vmm.sendMigration('unix:/nowhere'), { message })
  await t.throwsAsync(sides.destination.vmm.coredump('/nowhere'), { message })
  sides.follow()
  await sides.sent
  await until(() => sides.destination.events.includes('postcopy-migration-completed'))
  t.is(running(sides), 'absent running')
})

test('both sides that lose each other while memory is to come meet again', async t => {
  const sides = await late(t)
  sides.proxy.cut()
  await until(() => sides.source.machines.steps.length > 0)
  sides.follow()
  await sides.sent
  await until(() => sides.destination.events.includes('postcopy-migration-completed'))
  t.is(running(sides), 'absent running')
  t.false(sides.source.events.includes('migration-in-doubt'))
})

test('where the last word is lost, that all memory is there, it is said again', async t => {
  const sides = await late(t)
  let isFirst = true
  sides.proxy.judge = type => {
    if (type !== 'complete' || !isFirst) return 'pass'
    isFirst = false
    return 'cut'
  }
  sides.follow()
  await sides.sent
  t.is(running(sides), 'absent running')
})

test('that all memory is there counts, whatever is said behind it', async t => {
  const sides = await late(t)
  sides.proxy.judge = type => (type === 'complete' ? 'pass-and-garble' : 'pass')
  sides.follow()
  await sides.sent
  t.is(running(sides), 'absent running')
})

test('a source that ends before its memory has gone says so, and the machine has ended', async t => {
  const sides = await late(t)
  await sides.source.vmm.delete()
  await t.throwsAsync(sides.sent, { message: 'migration: the machine has ended' })
  await until(() => sides.destination.vmm.state === 'created')
  t.is(sides.destination.events.at(-1), 'shutdown')
  t.deepEqual(sides.destination.machines.steps.slice(-1), ['close'])
})

test('a destination where memory cannot come later refuses before anything moves', async t => {
  const sides = await twoSides(t)
  sides.destination.machines.failing.add('late')
  await t.throwsAsync(sides.send({ postcopy: 'if-needed' }), {
    message: 'migration: the destination refuses: late fails',
  })
  await t.throwsAsync(sides.received)
  t.is(running(sides), 'running absent')
  t.deepEqual(sides.source.machines.steps, [])
})

test('memory that can be copied first is', async t => {
  const sides = await twoSides(t)
  await sides.send({ postcopy: 'if-needed' })
  await sides.received
  t.is(running(sides), 'absent running')
  t.false(sides.destination.events.includes('postcopy-migration-completed'))
})
