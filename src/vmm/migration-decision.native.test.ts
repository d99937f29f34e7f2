import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { MigrationProxy } from '../migration/testing/proxy.ts'
import { TsvmmError } from '../util/errors.ts'
import { FakeMachines, fakeSpeaker } from './testing/fake-machine.ts'
import { config, running, twoSides, until } from './testing/two-sides.ts'

/** Both sides lose each other for good where the source says that the machine is the other one's. */
function loseCommit(proxy: MigrationProxy): void {
  proxy.judge = type => {
    if (type !== 'commit') return 'pass'
    proxy.shut()
    return 'cut'
  }
}

/** Two sides that have lost each other where neither knows which has the machine. */
async function inDoubt(t: ExecutionContext) {
  const sides = await twoSides(t)
  loseCommit(sides.proxy)
  const sent = sides.send()
  sent.catch(() => {})
  await until(() => sides.source.events.includes('migration-in-doubt'))
  await until(() => sides.destination.events.includes('migration-in-doubt'))
  return { ...sides, sent, id: sides.source.vmm.migrationProgress()?.id ?? '' }
}

test('as long as they do not meet both keep the machine, paused, and a person can decide', async t => {
  for (const decision of ['keep', 'discard'] as const) {
    const sides = await inDoubt(t)
    const { sent, id } = sides
    t.is(running(sides), 'moving receiving')
    t.is(sides.source.vmm.migrationProgress()?.phase, 'in-doubt')
    await t.throwsAsync(sides.source.vmm.resume(), { code: 'ERR_VM_STATE' })
    await t.throwsAsync(sides.source.vmm.resolveMigration('1234', 'keep'), { code: 'ERR_MIGRATION_UNKNOWN' })
    // Too late to give it up: it would be lost.
    sides.destination.vmm.cancelMigration()
    await sides.destination.vmm.resolveMigration(id, decision)
    await sides.source.vmm.resolveMigration(id, decision === 'keep' ? 'discard' : 'keep')
    if (decision === 'keep') {
      await sides.received
      await sent
      t.is(running(sides), 'absent running')
    } else {
      await t.throwsAsync(sides.received, { message: 'migration: it was decided not to keep the machine' })
      await t.throwsAsync(sent, { message: 'migration: it was decided to keep the machine' })
      t.is(running(sides), 'running absent')
      t.deepEqual(sides.source.machines.steps.slice(-2), ['claim', 'resume'])
    }
    await t.throwsAsync(sides.source.vmm.resolveMigration(id, 'keep'), { instanceOf: TsvmmError })
  }
})

test('a machine that is shut down while that is in doubt has stopped, whatever becomes of it', async t => {
  const { proxy, url, destination, received } = await twoSides(t)
  loseCommit(proxy)
  const vm = await new FakeMachines().createVm(config, { signal: new AbortController().signal })
  await vm.boot()
  const exits: string[] = []
  vm.on('exit', ({ kind }) => exits.push(kind))
  const sent = vm.sendMigration(url, { speaker: fakeSpeaker(), preserve: true })
  const [id] = await once(vm, 'migration-in-doubt')
  await vm.shutdown()
  await sent
  await until(() => destination.events.includes('migration-in-doubt'))
  await destination.vmm.resolveMigration(String(id), 'keep')
  await received
  t.is(vm.state, 'shutdown')
  t.deepEqual(exits, ['stopped'])
})

test('a destination that is closed in doubt ends when that is decided, and its machine with it', async t => {
  for (const decision of ['keep', 'discard'] as const) {
    const { source, destination, sent, id } = await inDoubt(t)
    const closed = destination.vmm.close()
    t.is(await Promise.race([closed, setImmediate('open')]), 'open')
    await destination.vmm.resolveMigration(id, decision)
    await closed
    t.is(destination.vmm.state, 'absent')
    t.is(destination.machines.steps.at(-1), 'close')
    await source.vmm.resolveMigration(id, decision === 'keep' ? 'discard' : 'keep')
    await (decision === 'keep' ? sent : t.throwsAsync(sent))
  }
})
