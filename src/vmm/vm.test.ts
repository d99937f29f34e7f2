import test from 'ava'
import { parseVmConfig } from '../config/vm-config.ts'
import { FakeMachines } from './testing/fake-machine.ts'

test('a guest that tries several ways to reset is reset once, and may reset again later', async t => {
  const machines = new FakeMachines()
  const { signal } = new AbortController()
  await using vm = await machines.createVm(parseVmConfig({ payload: { kernel: 'k' } }), { signal })
  let reboots = 0
  vm.on('rebooted', () => {
    reboots += 1
  })
  await vm.boot()
  const paused = Promise.withResolvers<void>()
  machines.delay = paused.promise
  for (let way = 0; way < 3; way += 1) machines.events?.reset()
  paused.resolve()
  // Requests are carried out in order: behind it nothing of theirs is left.
  await vm.resume()
  await vm.resume()
  t.is(reboots, 1)
  machines.events?.reset()
  await vm.resume()
  t.is(reboots, 2)
})
