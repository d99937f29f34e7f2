import test from 'ava'
import { exits, FakeVirtualMachine } from './fake.ts'
import type { VirtualMachineEvents } from './hypervisor.ts'

function aMachine(overrides: Partial<VirtualMachineEvents> = {}): FakeVirtualMachine {
  const vm = new FakeVirtualMachine()
  vm.setEvents({ endOfInterrupt: () => {}, vcpuStopped: () => {}, failed: () => {}, ...overrides })
  return vm
}

function aDevice(written: number[], isPosted = false) {
  return {
    ...{ name: 'device', sizeBytes: 1, bytes: new Uint8Array(1) },
    spans: [{ offset: 0, lengthBytes: 1, read: 'trap', write: isPosted ? 'post' : 'trap' }] as const,
    read: () => written.length,
    write: (_: number, __: number, value: number) => void written.push(value),
  }
}

test('a script runs in order while the vCPU runs, and stands still while it is parked', async t => {
  const vm = aMachine()
  const written: number[] = []
  vm.bus.map('pio', 0x10, aDevice(written))
  const vcpu = vm.createVcpu(0)
  vcpu.script.push(
    exits.write('pio', 0x10, 1, 1),
    exits.read('pio', 0x10, 1, value => written.push(100 + value)),
  )
  vcpu.run('vcpu0')
  await vcpu.settled()
  t.deepEqual(written, [1, 101])
  await vcpu.park()
  vcpu.script.push(exits.write('pio', 0x10, 1, 2))
  await new Promise(resolve => setImmediate(resolve))
  t.is(written.length, 2)
  vcpu.run('vcpu0')
  await vcpu.settled()
  t.deepEqual(written, [1, 101, 2])
  vm.close()
})

test('a park delivers what was posted', async t => {
  const vm = aMachine()
  const written: number[] = []
  vm.bus.map('pio', 0x10, aDevice(written, true))
  const vcpu = vm.createVcpu(0)
  vcpu.script.push(exits.write('pio', 0x10, 1, 1))
  vcpu.run('vcpu0')
  await vcpu.settled()
  await vcpu.park()
  t.deepEqual(written, [1])
})

test('stops, ends of interrupts and failures are told as a hypervisor tells them', async t => {
  const told: unknown[] = []
  const vm = aMachine({
    endOfInterrupt: vector => told.push(vector),
    vcpuStopped: (index, stop) => told.push(index, stop.kind),
    failed: error => told.push(error),
  })
  const [first, second] = [vm.createVcpu(0), vm.createVcpu(7)]
  const failure = new Error('device out of order')
  first.script.push(exits.endOfInterrupt(48))
  second.script.push(exits.stop({ kind: 'shutdown', detail: [] }))
  first.run('vcpu0')
  second.run('vcpu1')
  await Promise.all([first.settled(), second.settled()])
  first.script.push(() => {
    throw failure
  })
  await first.settled()
  t.deepEqual(told, [48, 1, 'shutdown', failure])
  t.false(first.isRunning || second.isRunning)
})

test('doorbells ring and interrupts are delivered where they are attached', async t => {
  const vm = aMachine()
  const doorbell = vm.createEventFd()
  vm.doorbells.attach(doorbell, 0x1000)
  const vcpu = vm.createVcpu(0)
  vcpu.script.push(exits.ring(0x1000), exits.ring(0x2000))
  vcpu.run('vcpu0')
  await vcpu.settled()
  t.true(doorbell.drain())
  t.throws(() => vm.doorbells.attach(doorbell, 0x1000), { message: /taken/ })
  vm.doorbells.detach(doorbell, 0x1000)
  t.throws(() => vm.doorbells.detach(doorbell, 0x1000), { message: /no such doorbell/ })
  vm.close()
})

test('registers are kept as written and out of reach while the vCPU runs', async t => {
  const vm = aMachine()
  const vcpu = vm.createVcpu(0)
  t.is(vcpu.getRegisters('regs').length, 144)
  vcpu.setRegisters('regs', new Uint8Array(144).fill(3))
  vcpu.setMsrs(Uint32Array.of(0x10), BigUint64Array.of(5n))
  t.deepEqual(vcpu.getMsrs(Uint32Array.of(0x10, 0x11)), BigUint64Array.of(5n, 0n))
  vcpu.run('vcpu0')
  t.throws(() => vcpu.getRegisters('regs'), { message: /running/ })
  await vcpu.park()
  t.is(vcpu.getRegisters('regs')[0], 3)
})

test('memory is what was added, and zero once cleared', t => {
  const vm = aMachine()
  vm.addRam(0x2000, 0x1000)
  vm.addRam(0x1000, 0x1000)
  vm.memory.write(0x1fff, Uint8Array.of(1, 2))
  t.deepEqual(vm.memory.read(0x1ffe, 4), Uint8Array.of(0, 1, 2, 0))
  t.throws(() => vm.memory.read(0x2fff, 2), { code: 'ERR_MEMORY', message: /0x3000/ })
  vm.clearRam()
  t.deepEqual(vm.memory.read(0x1fff, 2), new Uint8Array(2))
})
