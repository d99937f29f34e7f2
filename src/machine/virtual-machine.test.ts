import test from 'ava'
import { FakeVirtualMachine } from '../hypervisor/fake.ts'
import { VirtualMachineComponent } from './virtual-machine.ts'

test('the clock of the guest stands still while it is paused', async t => {
  const vm = new FakeVirtualMachine()
  const component = new VirtualMachineComponent(vm)
  component.resume()
  vm.clock.nowNs = 1_000n
  await component.pause()
  vm.clock.nowNs = 5_000n
  await component.pause()
  component.resume()
  t.is(vm.clock.nowNs, 1_000n)
  vm.clock.nowNs = 2_000n
  component.resume()
  t.is(vm.clock.nowNs, 2_000n, 'nothing is set back that was not paused')
})

test('closing closes the hypervisor’s side', async t => {
  const vm = new FakeVirtualMachine()
  await new VirtualMachineComponent(vm).close()
  t.true(vm.isClosed)
})
