import test from 'ava'
import { FakeVirtualMachine } from '../hypervisor/fake.ts'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { VirtualMachineComponent } from './virtual-machine.ts'
import { X86TimeStampCounters } from './x86_64-tsc.ts'

const counter = 0x10
const second = 1_000_000_000n
/** The fake's counters have a gigahertz. */
const ticksOf = (ns: bigint) => ns

function aMachine(count = 2, keepsRate = true) {
  const vm = new FakeVirtualMachine()
  const host = { ns: 100n * second }
  const clock = new VirtualMachineComponent(
    vm,
    () => 0,
    () => host.ns,
  )
  const counters = new X86TimeStampCounters(clock, { keepsRate })
  const vcpus = Array.from({ length: count }, (_, index) => vm.createVcpu(index))
  for (const vcpu of vcpus) counters.add(vcpu)
  const pass = (ns: bigint) => {
    host.ns += ns
    for (const { msrs } of vcpus) msrs.set(counter, (msrs.get(counter) ?? 0n) + ticksOf(ns))
  }
  const pause = async (betweenNs = 0n) => {
    await counters.pause()
    pass(betweenNs)
    await clock.pause()
  }
  return {
    ...{ counters, pause, vcpus, pass, values: () => vcpus.map(({ msrs }) => msrs.get(counter)) },
    resume: () => {
      clock.resume()
      counters.resume()
    },
    clock,
  }
}

function saveOf({ state }: X86TimeStampCounters): unknown {
  return state.kind === 'saved' ? state.part.save() : undefined
}

test('counters stand still while the machine is paused, and stay as far apart as they were', async t => {
  const { vcpus, pass, values, pause, resume } = aMachine()
  vcpus[1]?.setTscOffset(7n)
  pass(5n * second)
  resume()
  t.deepEqual(values(), [ticksOf(5n * second), ticksOf(5n * second) + 7n], 'nothing happens to one that never stood')
  await pause()
  pass(60n * second)
  resume()
  t.deepEqual(values(), [ticksOf(5n * second), ticksOf(5n * second) + 7n])
})

test('one that stands still by itself while it does not run is not moved back', async t => {
  const { vcpus, pass, values, pause, resume } = aMachine(1)
  pass(5n * second)
  await pause()
  // KVM moves the offset as the host's counter goes on (an unstable one), so that both add up to the same.
  const [vcpu] = vcpus
  pass(60n * second)
  vcpu?.setTscOffset((vcpu.tscOffset() ?? 0n) - ticksOf(60n * second))
  t.deepEqual(values(), [ticksOf(5n * second)])
  resume()
  t.deepEqual(values(), [ticksOf(5n * second)])
})

test('they go on in another machine where they stood when the clock did', async t => {
  const from = aMachine()
  from.vcpus[1]?.setTscOffset(7n)
  from.pass(5n * second)
  await from.pause()
  // Until somebody looks at them.
  from.pass(2n * second)
  const to = aMachine()
  to.pass(50n * second)
  await to.pause()
  moveState(from.counters, to.counters)
  t.deepEqual(from.values(), [ticksOf(7n * second), ticksOf(7n * second) + 7n], 'saving changes nothing')
  to.clock.resume()
  to.pass(3n)
  to.counters.resume()
  t.deepEqual(to.values(), [ticksOf(5n * second) + 3n, ticksOf(5n * second) + 10n])
  holdsItsState(t, from.counters)
})

test('time that the clock skips they skip, too', async t => {
  const from = aMachine()
  from.vcpus[1]?.setTscOffset(7n)
  from.pass(5n * second)
  await from.pause()
  const to = aMachine()
  await to.pause()
  moveState(from.clock, to.clock)
  moveState(from.counters, to.counters)
  to.counters.skip(to.clock.skipPause(3_000))
  t.is(to.clock.skipPause(0), 0n)
  t.like(saveOf(to.counters), { stoppedAt: ticksOf(8n * second) })
  to.resume()
  t.deepEqual(to.values(), [ticksOf(8n * second), ticksOf(8n * second) + 7n])
})

test('what passes until the clock stops, too, is theirs', async t => {
  const { pass, values, pause, resume } = aMachine(1)
  pass(5n * second)
  await pause(1_000n)
  pass(60n * second)
  resume()
  t.deepEqual(values(), [ticksOf(5n * second + 1_000n)])
})

test('without offsets they are written', async t => {
  const from = aMachine()
  const to = aMachine()
  for (const vcpu of [...from.vcpus, ...to.vcpus]) vcpu.offset = undefined
  from.pass(5n * second)
  await from.pause()
  await to.pause()
  moveState(from.counters, to.counters)
  to.resume()
  t.deepEqual(to.values(), [ticksOf(5n * second), ticksOf(5n * second)])
})

test('the rate is that of the machine that was saved, or of the host where that is wanted', t => {
  const from = aMachine(1)
  for (const vcpu of from.vcpus) vcpu.setTscKilohertz(2_000_000)
  for (const [keepsRate, kilohertz] of [
    [true, 2_000_000],
    [false, 1_000_000],
  ] as const) {
    const to = aMachine(1, keepsRate)
    moveState(from.counters, to.counters)
    t.is(to.vcpus[0]?.tscKilohertz(), kilohertz)
  }
})

test('a machine with another number of vCPUs is refused', t => {
  const message = '__tsc: it was saved with 2 vCPUs and has 1'
  t.throws(() => moveState(aMachine().counters, aMachine(1).counters), { code: 'ERR_STATE_INVALID', message })
})
