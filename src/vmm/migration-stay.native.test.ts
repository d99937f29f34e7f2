import { setTimeout as delay } from 'node:timers/promises'
import test from 'ava'
import { config, running, type Sides, twoSides, until } from './testing/two-sides.ts'

/** Neither side waits for the other one any more, and the machine can go on. */
async function isOver(sides: Sides): Promise<boolean> {
  const { source, proxy } = sides
  await until(() => proxy.isQuiet)
  source.machines.failing.clear()
  await source.vmm.resume()
  return running(sides) === 'running absent'
}

test('where the source cannot get what is the machine’s own back either the machine is kept, paused', async t => {
  const sides = await twoSides(t)
  const { source, destination } = sides
  let told = 0
  source.vmm.on('built', vm => vm.on('migration-progress', () => (told += 1)))
  await source.vmm.delete()
  await source.vmm.create(config)
  await source.vmm.boot()
  destination.machines.failing.add('claim')
  source.machines.failing.add('claim')
  await t.throwsAsync(sides.send(), { message: 'claim fails' })
  await t.throwsAsync(sides.received)
  t.is(running(sides), 'paused absent')
  t.true(await isOver(sides))
  told = 0
  await delay(1_000)
  t.is(told, 0)
})

test('a machine that can neither be given away nor be had back is kept, paused', async t => {
  const sides = await twoSides(t)
  const { failing } = sides.source.machines
  failing.add('cede').add('claim')
  await t.throwsAsync(sides.send(), { message: /^(claim|cede) fails$/ })
  await t.throwsAsync(sides.received, { message: /the source gives up: .*cede fails/ })
  t.is(running(sides), 'paused absent')
  t.true(await isOver(sides))
})

test('a destination hears that a machine is kept that cannot go on', async t => {
  const sides = await twoSides(t)
  sides.source.machines.failing.add('resume')
  let isFirst = true
  sides.proxy.judge = type => {
    if (type !== 'ready' || !isFirst) return 'pass'
    isFirst = false
    return 'cut'
  }
  await t.throwsAsync(sides.send(), { message: 'resume fails' })
  await t.throwsAsync(sides.received, { message: /the source has kept the machine/ })
  t.is(running(sides), 'paused absent')
  t.true(await isOver(sides))
})
