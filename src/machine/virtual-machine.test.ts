import test from 'ava'
import { FakeVirtualMachine } from '../hypervisor/fake.ts'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
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

test('the clock goes on in another machine where it was, or as if it had never stood still', async t => {
  const host = { ms: 1_000_000 }
  const [vm, second, third] = [new FakeVirtualMachine(), new FakeVirtualMachine(), new FakeVirtualMachine()]
  const component = new VirtualMachineComponent(vm, () => host.ms)
  vm.clock.nowNs = 5_000n
  await component.pause()
  host.ms += 60_000
  const [continuing, jumping] = [second, third].map(each => new VirtualMachineComponent(each, () => host.ms))
  if (continuing === undefined || jumping === undefined) return t.fail()
  for (const each of [continuing, jumping]) {
    await each.pause()
    moveState(component, each)
  }
  t.is(jumping.skipPause(), 60_000_000_000n)
  t.is(jumping.skipPause(), 0n)
  continuing.resume()
  jumping.resume()
  t.is(second.clock.nowNs, 5_000n)
  t.is(third.clock.nowNs, 60_000_005_000n)
  host.ms = 0
  moveState(component, jumping)
  jumping.skipPause()
  jumping.resume()
  t.is(third.clock.nowNs, 5_000n, 'never backwards')
  holdsItsState(t, component)
})
