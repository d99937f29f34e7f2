import test from 'ava'
import { FakeVirtualMachine } from '../hypervisor/fake.ts'
import type { MsrModifier } from '../hypervisor/x86_64/msr-modifiers.ts'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { X86Vcpu } from './x86_64-vcpu.ts'

const lstar = 0xc000_0082
const deadline = 0x6e0
const archCapabilities = 0x10a

function aVcpu(hasNestedState = true, msrModifiers?: readonly MsrModifier[]) {
  const fake = new FakeVirtualMachine().createVcpu(0)
  const vcpu = new X86Vcpu({
    ...{ index: 0, vcpu: fake, cpuid: new Uint8Array(40), affinity: undefined, hasNestedState },
    msrIndices: Uint32Array.of(0x10, archCapabilities, deadline, lstar),
    featureMsrs: Uint32Array.of(archCapabilities),
    ...(msrModifiers === undefined ? {} : { msrModifiers }),
  })
  return { fake, vcpu }
}

test('registers, MSRs and CPUID go on in another machine, the timer armed when it goes on', t => {
  const { fake, vcpu } = aVcpu()
  const regs = new Uint8Array(144).fill(7)
  fake.setRegisters('regs', regs)
  fake.setCpuid(new Uint8Array(40).fill(1))
  for (const [msr, value] of [
    [lstar, 5n],
    [deadline, 9n],
  ] as const)
    fake.msrs.set(msr, value)
  const other = aVcpu()
  moveState(vcpu, other.vcpu)
  t.deepEqual(other.fake.getRegisters('regs'), regs)
  t.is(other.fake.msrs.get(lstar), 5n)
  t.false(other.fake.msrs.has(deadline))
  other.vcpu.resume()
  t.is(other.fake.msrs.get(deadline), 9n)
  t.false(other.fake.msrs.has(0x10), 'the counter is not the vCPU’s own')
})

test('one that is closed does not run again', async t => {
  const { fake, vcpu } = aVcpu()
  vcpu.resume()
  t.true(fake.isRunning)
  await vcpu.close()
  vcpu.resume()
  t.false(fake.isRunning)
})

test('an MSR that the host refuses is named, unless it has the value anyway', t => {
  const { fake, vcpu } = aVcpu()
  fake.msrs.set(lstar, 5n)
  const other = aVcpu()
  other.fake.refusedMsrs.add(lstar)
  const message = 'vcpu0: this host cannot set MSR 0xc0000082 to 0x5'
  t.throws(() => moveState(vcpu, other.vcpu), { code: 'ERR_STATE_INVALID', message })
  other.fake.msrs.set(lstar, 5n)
  t.notThrows(() => moveState(vcpu, other.vcpu))
})

test('MSRs that the hypervisor does not read are left out, those behind them are not', t => {
  const { fake, vcpu } = aVcpu()
  fake.unreadableMsrs.add(lstar)
  fake.msrs.set(deadline, 9n)
  const other = aVcpu()
  moveState(vcpu, other.vcpu)
  other.vcpu.resume()
  t.is(other.fake.msrs.get(deadline), 9n)
  t.false(other.fake.msrs.has(lstar))
})

test('a guest that runs guests goes on only where the hypervisor takes them over', t => {
  const { fake, vcpu } = aVcpu()
  const nested = new Uint8Array(128)
  fake.setRegisters('nested-state', nested)
  const able = aVcpu()
  moveState(vcpu, able.vcpu)
  t.deepEqual(able.fake.getRegisters('nested-state'), nested)
  t.notThrows(() => moveState(vcpu, aVcpu(false).vcpu), 'it runs none')
  nested[0] = 1
  fake.setRegisters('nested-state', nested)
  const message = 'vcpu0: its guest runs guests of its own, and this host cannot take them over'
  t.throws(() => moveState(vcpu, aVcpu(false).vcpu), { code: 'ERR_STATE_INVALID', message })
})

test('whatever its state, a vCPU keeps it', t => holdsItsState(t, aVcpu().vcpu, { exact: false }))

test('a reset leaves the CPU what it is, also one that was saved elsewhere', async t => {
  const { fake, vcpu } = aVcpu()
  fake.msrs.set(archCapabilities, 0x69n)
  fake.msrs.set(lstar, 5n)
  const other = aVcpu()
  other.fake.msrs.set(archCapabilities, 0xffn)
  moveState(vcpu, other.vcpu)
  other.vcpu.reset()
  t.is(other.fake.msrs.get(archCapabilities), 0x69n)
  t.is(other.fake.msrs.get(lstar), 0n)
  t.is(other.vcpu.describeCpu().msrs.get(archCapabilities), 0x69n)
})

test('a vCPU begins with the MSRs of its template, and has them after a reset', t => {
  const { fake, vcpu } = aVcpu(true, [{ index: lstar, mask: 6n, value: 2n }])
  t.is(fake.msrs.get(lstar), 2n)
  fake.msrs.set(lstar, 5n)
  vcpu.reset()
  t.is(fake.msrs.get(lstar), 2n)
})
