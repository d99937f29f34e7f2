import test from 'ava'
import { FakeVirtualMachine } from '../fake.ts'
import { modifyMsrs } from './msr-modifiers.ts'

const archCapabilities = 0x10a
const miscEnable = 0x1a0
const indices = Uint32Array.of(archCapabilities, miscEnable)

function aVcpu() {
  const vcpu = new FakeVirtualMachine().createVcpu(0)
  vcpu.msrs.set(archCapabilities, 0x8000_0069n)
  vcpu.msrs.set(miscEnable, 1n)
  return vcpu
}

test('bits of the mask have their value, others stay', t => {
  const vcpu = aVcpu()
  modifyMsrs(vcpu, indices, [
    { index: archCapabilities, mask: 0x60n, value: 0x40n },
    { index: miscEnable, mask: 1n << 63n, value: 1n << 63n },
  ])
  t.is(vcpu.msrs.get(archCapabilities), 0x8000_0049n)
  t.is(vcpu.msrs.get(miscEnable), (1n << 63n) | 1n)
})

test('what the host has not is refused by name', t => {
  const refused = (index: number, value: bigint, reason: string) => {
    const vcpu = aVcpu()
    vcpu.refusedMsrs.add(miscEnable)
    const message = `--cpus: template: ${reason}`
    t.throws(() => modifyMsrs(vcpu, indices, [{ index, mask: value, value }]), { code: 'ERR_CPUS', message })
  }
  refused(archCapabilities, 1n << 8n, 'it asks for taa_no, not there on this host')
  refused(miscEnable, 8n, 'this host cannot set MSR 0x1a0 to 0x9')
  refused(0x9999, 1n, 'this host has no MSR 0x9999')
})
