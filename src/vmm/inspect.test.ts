import test from 'ava'
import { parseVmConfig } from '../config/vm-config.ts'
import { FakeMachines } from './testing/fake-machine.ts'

const config = parseVmConfig({ payload: { kernel: 'vmlinux' } })

test('the state of a component is taken while the machine stands still, which goes on then', async t => {
  const machines = new FakeMachines()
  await using vm = await machines.createVm(config, { signal: new AbortController().signal })
  t.throws(() => vm.components(), { code: 'ERR_VM_STATE', message: 'cannot inspect: the machine is created' })
  await t.throwsAsync(vm.inspect('fake-register'), { code: 'ERR_VM_STATE' })
  await vm.boot()
  t.deepEqual(vm.components(), [
    { name: 'fake', state: 'stateless' },
    { name: 'fake-register', state: 'saved', schema: 'fake-register', version: 1 },
    { name: '__device_hotplug', state: 'stateless' },
  ])
  machines.steps.length = 0
  const { content } = await vm.inspect('fake-register')
  t.deepEqual(content, { large: 2n ** 63n, bytes: Uint8Array.of(1, 255) })
  t.deepEqual(machines.steps, ['pause', 'resume'])
  t.is(vm.state, 'running')
  await t.throwsAsync(vm.inspect('nothing'), { code: 'ERR_DEVICE_UNKNOWN', message: 'there is no device nothing' })
  t.is(vm.state, 'running')
  await vm.pause()
  machines.steps.length = 0
  t.deepEqual(await vm.inspect('fake'), { name: 'fake', state: 'stateless' })
  t.deepEqual(machines.steps, [])
  t.is(vm.state, 'paused')
})
