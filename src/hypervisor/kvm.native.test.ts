import test from 'ava'
import { FakeEventFd } from '../interrupts/testing/fake-gateway.ts'
import type { RamOptions, Vcpu, VcpuStop, VirtualMachineEvents } from './hypervisor.ts'
import { Kvm, type KvmVirtualMachine } from './kvm.native.ts'

const ram: RamOptions = {
  ...{ shared: false, hugePageBytes: 0, mergeable: false, prefault: false, thp: false, reserve: true },
}
const codeAddress = 0x1000
/** In struct kvm_sregs and struct kvm_regs. */
const offsets = { csBase: 0, csSelector: 12, rip: 128, rflags: 136 } as const

function aMachine(): KvmVirtualMachine & Disposable {
  const kvm = Kvm.open()
  const vm = kvm.createVm(() => {})
  kvm.close()
  vm.addRam(0, 0x8000, ram)
  return Object.assign(vm, { [Symbol.dispose]: () => vm.close() })
}

/** A vCPU that begins with `code` in real mode. */
function aVcpu(vm: KvmVirtualMachine, code: readonly number[]): Vcpu {
  vm.memory.write(codeAddress, Uint8Array.from(code))
  const vcpu = vm.createVcpu(0)
  const sregs = vcpu.getRegisters('sregs')
  sregs.fill(0, offsets.csBase, offsets.csBase + 8)
  sregs.fill(0, offsets.csSelector, offsets.csSelector + 2)
  vcpu.setRegisters('sregs', sregs)
  const regs = new DataView(new ArrayBuffer(144))
  regs.setBigUint64(offsets.rip, BigInt(codeAddress), true)
  regs.setBigUint64(offsets.rflags, 2n, true)
  vcpu.setRegisters('regs', new Uint8Array(regs.buffer))
  return vcpu
}

function events(vm: KvmVirtualMachine, overrides: Partial<VirtualMachineEvents> = {}): Promise<VcpuStop> {
  return new Promise((resolve, reject) => {
    vm.setEvents({
      endOfInterrupt: () => {},
      vcpuStopped: (_, stop) => resolve(stop),
      failed: reject,
      ...overrides,
    })
  })
}

test('an access goes to the device that the bus has there', async t => {
  using vm = aMachine()
  const stopped = events(vm)
  const seen: number[][] = []
  vm.bus.map('pio', 0x40, {
    ...{ name: 'device', sizeBytes: 2, bytes: new Uint8Array(2) },
    spans: [{ offset: 0, lengthBytes: 2, read: 'trap', write: 'trap' }],
    read: (offset, width) => {
      seen.push([offset, width])
      return 0x5a
    },
    write: (offset, width, value) => seen.push([offset, width, value]),
  })
  // in al, 0x41; out 0x40, al; hlt
  aVcpu(vm, [0xe4, 0x41, 0xe6, 0x40, 0xf4]).run('vcpu0')
  t.is((await stopped).kind, 'unhandled')
  t.deepEqual(seen, [
    [1, 1],
    [0, 1, 0x5a],
  ])
  t.is(vm.exitCounters().trapped, 2)
})

test('a device that throws fails the machine', async t => {
  using vm = aMachine()
  const failed = events(vm)
  vm.bus.map('pio', 0x40, {
    ...{ name: 'device', sizeBytes: 1, bytes: new Uint8Array(1) },
    spans: [{ offset: 0, lengthBytes: 1, read: 'trap', write: 'trap' }],
    read: () => 0,
    write: () => {
      throw new RangeError('unforeseen')
    },
  })
  const vcpu = aVcpu(vm, [0xe6, 0x40, 0xf4])
  vcpu.run('vcpu0')
  await t.throwsAsync(failed, { instanceOf: RangeError, message: 'unforeseen' })
  await vcpu.park()
})

test('a doorbell takes a write of any width', async t => {
  using vm = aMachine()
  const stopped = events(vm)
  const doorbell = vm.createEventFd()
  vm.doorbells.attach(doorbell, 0xd_0000)
  // mov ax, 0xd000; mov ds, ax; mov word [0], ax; hlt
  aVcpu(vm, [0xb8, 0x00, 0xd0, 0x8e, 0xd8, 0xa3, 0x00, 0x00, 0xf4]).run('vcpu0')
  await stopped
  t.true(doorbell.isPending())
  vm.doorbells.detach(doorbell, 0xd_0000)
  t.throws(() => vm.doorbells.detach(doorbell, 0xd_0000), { code: 'ERR_HYPERVISOR', message: /detach a doorbell/ })
  doorbell.close()
})

test('cleared memory reads as zeroes in the guest too', t => {
  using vm = aMachine()
  vm.memory.write(0x2000, Uint8Array.of(1))
  vm.clearRam()
  t.deepEqual(vm.memory.read(0x2000, 1), Uint8Array.of(0))
})

test('the paravirtual clock goes on from where it was set', t => {
  using vm = aMachine()
  const wanted = 5_000_000_000_000n
  vm.clock.setNs(wanted)
  const now = vm.clock.readNs()
  t.true(now >= wanted && now < wanted + 1_000_000_000n, `${now}`)
})

test('what the hypervisor refuses says what was attempted', t => {
  using vm = aMachine()
  const vcpu = aVcpu(vm, [0xf4])
  const error = { code: 'ERR_HYPERVISOR' }
  t.throws(() => vm.createVcpu(0), { ...error, message: /create vCPU 0: KVM_CREATE_VCPU/ })
  t.throws(() => vcpu.setRegisters('regs', new Uint8Array(1)), { ...error, message: /write regs of vCPU 0/ })
  t.throws(() => vcpu.getRegisters('lapic'), { ...error, message: /read lapic of vCPU 0/ })
  t.throws(() => vcpu.getRegisters('no-such-file'), { ...error, message: /no-such-file/ })
  t.throws(() => vm.interrupts.attach(1, new FakeEventFd(3)), { ...error, message: /attach interrupt 1/ })
})

test('a device that cannot be opened is named with the cause', t => {
  const error = { code: 'ERR_HYPERVISOR_OPEN' }
  t.throws(() => Kvm.open('/nowhere'), { ...error, message: /^cannot open \/nowhere: no such device/ })
  t.throws(() => Kvm.open('/dev/null'), { ...error, message: 'cannot open /dev/null: not a KVM device' })
})

test('closing twice is closing once', t => {
  const vm = aMachine()
  vm.close()
  vm.close()
  t.throws(() => vm.createVcpu(0), { code: 'ERR_HYPERVISOR', message: /closed/ })
})
