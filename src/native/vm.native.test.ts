import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { addon, type NativeEventFd, type NativeVcpu } from './addon.ts'
import { op, TinyGuest } from './testing/tiny-guest.native.ts'

const done = 0x40
const mmio = { segment: 0xd000, address: 0xd_0000 } as const
const pageBytes = 0x1000

/** A message to the local APIC with id 0 (Intel SDM Vol. 3A §11.11): fixed delivery, edge. */
const lapicAddress = 0xfee0_0000

/** A guest that waits with interrupts on and writes `vector` to the port when one comes; it acknowledges none, so one is all. */
function interruptible(guest: TinyGuest, vector: number): void {
  const handlerAddress = 0x3000
  guest.memory.write(handlerAddress, Uint8Array.from([...op.out8(done, vector), ...op.returnFromInterrupt]))
  const entry = new DataView(new ArrayBuffer(4))
  entry.setUint16(0, handlerAddress, true)
  guest.memory.write(vector * 4, new Uint8Array(entry.buffer))
  // mov sp, 0x7000, so that the interrupt finds a stack.
  const vcpu = guest.addVcpu([0xbc, 0x00, 0x70], op.enableInterrupts, op.out8(done, 0), op.haltForever)
  enableLapic(vcpu)
}

/** The spurious-interrupt register (Intel SDM Vol. 3A §11.9) enables the APIC. */
function enableLapic(vcpu: NativeVcpu): void {
  const lapic = vcpu.getRegisters('lapic')
  new DataView(lapic.buffer).setUint32(0xf0, 0x1ff, true)
  vcpu.setRegisters('lapic', lapic)
}

test('a message-signalled interrupt wakes a halted guest', async t => {
  using guest = new TinyGuest({ irqchip: true })
  const out = guest.recordPort(done)
  interruptible(guest, 0x31)
  guest.run()
  await out.until(1)
  guest.vm.signalMsi(lapicAddress, 0, 0x31)
  await out.until(2)
  t.deepEqual(out.values, [0, 0x31])
})

test('an event descriptor is an interrupt once it has a route, also what it counted before', async t => {
  using guest = new TinyGuest({ irqchip: true })
  using fds = new DisposableEventFds()
  const out = guest.recordPort(done)
  const eventFd = fds.create()
  interruptible(guest, 0x41)
  guest.vm.setGsiRoutes([{ gsi: 30, addressLow: lapicAddress, addressHigh: 0, data: 0x41 }])
  guest.run()
  await out.until(1)
  eventFd.signal()
  t.true(eventFd.isPending())
  guest.vm.attachIrqfd(30, eventFd)
  await out.until(2)
  t.deepEqual(out.values, [0, 0x41])
  guest.vm.detachIrqfd(30, eventFd)
  t.false(eventFd.isPending(), 'what was delivered is consumed')
  eventFd.signal()
  await sleep(5)
  t.true(eventFd.isPending(), 'nobody consumes it any more')
  t.deepEqual(out.values, [0, 0x41])
})

test('the end of a level-triggered interrupt is told where the userspace IOAPIC sent it', async t => {
  using guest = new TinyGuest({ irqchip: true })
  using fds = new DisposableEventFds()
  const out = guest.recordPort(done)
  const [level, edge] = [fds.create(), fds.create()]
  const [vector, edgeVector] = [0x31, 0x42]
  // mov dword [0xfee000b0], 0: the local APIC's end-of-interrupt register.
  const endOfInterrupt = [0xc7, 0x05, 0xb0, 0x00, 0xe0, 0xfe, 0, 0, 0, 0]
  const handler = 0x3000
  // It waits for the next one itself: not every KVM emulates a return in protected mode.
  const waiting = [...op.enableInterrupts, ...op.haltForever]
  guest.memory.write(handler, Uint8Array.from([...endOfInterrupt, ...op.out8(done, vector), ...waiting]))
  // mov esp, 0x7000
  const vcpu = guest.addVcpu([0xbc, 0x00, 0x70, 0, 0], op.out8(done, 0), waiting)
  guest.protect(vcpu, { vector, handler })
  guest.protect(vcpu, { vector: edgeVector, handler })
  enableLapic(vcpu)
  const [levelTriggered, asserted] = [1 << 15, 1 << 14]
  guest.vm.setGsiRoutes([
    { gsi: 4, addressLow: lapicAddress, addressHigh: 0, data: vector | levelTriggered | asserted },
    { gsi: 40, addressLow: lapicAddress, addressHigh: 0, data: edgeVector },
  ])
  guest.vm.attachIrqfd(4, level)
  guest.vm.attachIrqfd(40, edge)
  guest.run()
  await out.until(1)
  const ended = async (count: number) => {
    // KVM may run some instructions more before it tells.
    while (guest.endedInterrupts.length < count) await sleep(1)
  }
  level.signal()
  await out.until(2)
  await ended(1)
  edge.signal()
  await out.until(3)
  level.signal()
  await out.until(4)
  await ended(2)
  t.deepEqual(guest.endedInterrupts, [vector, vector], 'an edge has no end to tell')
})

test('a halted guest is parked and still wakes afterwards', async t => {
  using guest = new TinyGuest({ irqchip: true })
  const out = guest.recordPort(done)
  interruptible(guest, 0x32)
  guest.run()
  await out.until(1)
  await sleep(5)
  await guest.park()
  guest.vm.signalMsi(lapicAddress, 0, 0x32)
  t.deepEqual(out.values, [0])
  guest.run()
  await out.until(2)
  t.deepEqual(out.values, [0, 0x32])
})

test('a vCPU that waits for its start-up message is parked and closed', async t => {
  using guest = new TinyGuest({ irqchip: true })
  guest.addVcpu(op.forever([0x90]))
  const waiting = guest.addVcpu(op.halt)
  waiting.setRegisters('mp-state', Uint8Array.of(1, 0, 0, 0))
  for (let round = 0; round < 5; round += 1) {
    guest.run()
    await sleep(2)
    await guest.park()
  }
  t.deepEqual([...waiting.getRegisters('mp-state')], [1, 0, 0, 0])
  guest.run()
})

test('a doorbell rings without an exit, in either space', async t => {
  using guest = new TinyGuest()
  using fds = new DisposableEventFds()
  const out = guest.recordPort(done)
  const [port, memory, other] = [fds.create(), fds.create(), fds.create()]
  guest.vm.attachDoorbell({ eventFd: port, space: 'pio', address: 0x10, widthBytes: 1, match: 7 })
  guest.vm.attachDoorbell({ eventFd: other, space: 'pio', address: 0x10, widthBytes: 1, match: 8 })
  guest.vm.attachDoorbell({ eventFd: memory, space: 'mmio', address: mmio.address, widthBytes: 0 })
  guest.addVcpu(
    op.out8(0x10, 7),
    op.useSegment(mmio.segment),
    op.store32(0, 1),
    op.out8(0x10, 9),
    op.out8(done, 0),
    op.haltForever,
  )
  guest.run()
  await out.until(1)
  t.true(port.isPending())
  t.true(memory.isPending())
  t.false(other.isPending())
  t.is(guest.vm.exitCounters().unmapped, 1, 'the value that nobody listens for')
  guest.vm.detachDoorbell({ eventFd: port, space: 'pio', address: 0x10, widthBytes: 1, match: 7 })
  t.throws(() => guest.vm.detachDoorbell({ eventFd: port, space: 'pio', address: 0x10, widthBytes: 1, match: 7 }), {
    code: 'ENOENT',
  })
})

test('a slot keeps its mapping and lets go when it is removed', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  const mapping = new (addon().Mapping)({ sizeBytes: pageBytes, backing: 'memfd', shared: true })
  guest.vm.setMemorySlot({ slot: 1, guestAddress: 0x1_0000, mapping, mappingOffset: 0, sizeBytes: pageBytes })
  mapping.close()
  guest.map('pio', 0x20, { write: () => guest.vm.removeMemorySlot(1) })
  const load = [...op.load32(0), ...op.outEax(done)]
  guest.addVcpu(op.useSegment(0x1000), op.store32(0, 0x1234), load, op.out8(0x20, 0), load, op.haltForever)
  guest.run()
  await out.until(2)
  t.deepEqual(out.values, [0x1234, 0xffff_ffff])
})

test('a slot cannot reach beyond its mapping or over another', t => {
  using guest = new TinyGuest()
  const mapping = new (addon().Mapping)({ sizeBytes: 2 * pageBytes, backing: 'anonymous' })
  const slot = { slot: 1, guestAddress: 0x1_0000, mapping, mappingOffset: 0, sizeBytes: 2 * pageBytes }
  t.throws(() => guest.vm.setMemorySlot({ ...slot, mappingOffset: pageBytes }), { code: 'EINVAL' })
  t.throws(() => guest.vm.setMemorySlot({ ...slot, sizeBytes: 0 }), { code: 'EINVAL' })
  const error = t.throws(() => guest.vm.setMemorySlot({ ...slot, guestAddress: 0x7000 }), { code: 'EEXIST' })
  t.like(error, { syscall: 'KVM_SET_USER_MEMORY_REGION', errno: -17 })
  t.throws(() => guest.vm.setMemorySlot({ ...slot, slot: -1 }), { instanceOf: RangeError })
  mapping.close()
  t.throws(() => guest.vm.setMemorySlot(slot), { message: /closed/ })
})

test('windows may not overlap, also not by a move, and a failed move changes nothing', t => {
  using guest = new TinyGuest()
  const first = guest.map('pio', 0x10, { sizeBytes: 4 })
  t.throws(() => guest.map('pio', 0x13, {}), { instanceOf: RangeError, message: /overlaps/ })
  const second = guest.map('pio', 0x14, {})
  guest.map('mmio', 0x13, {})
  t.throws(() => second.move(0x12), { instanceOf: RangeError })
  first.move(0x11 - 1)
  first.close()
  second.move(0x12)
  first.close()
  t.throws(() => first.move(0x20), { message: /closed/ })
})

test('spans must lie ascending within the window', t => {
  using guest = new TinyGuest()
  const span = { read: 'bytes', write: 'bytes' } as const
  const map = (spans: Parameters<typeof guest.vm.mapWindow>[3]) => () =>
    guest.vm.mapWindow('mmio', mmio.address, new Uint8Array(8), spans, 1)
  t.throws(map([{ ...span, offset: 0, lengthBytes: 9 }]), { instanceOf: RangeError })
  t.throws(
    map([
      { ...span, offset: 4, lengthBytes: 4 },
      { ...span, offset: 0, lengthBytes: 4 },
    ]),
    { instanceOf: RangeError },
  )
  t.throws(map([{ ...span, offset: 0, lengthBytes: 8, mask: new Uint8Array(4) }]), { instanceOf: RangeError })
  t.throws(map([{ read: 'clock', write: 'ignore', offset: 0, lengthBytes: 4 }]), { instanceOf: RangeError })
  t.notThrows(map([{ ...span, offset: 0, lengthBytes: 8 }]))
})

test('the clock of the guest can be set back', t => {
  using guest = new TinyGuest()
  const before = guest.vm.clock()
  t.is(before.length, 48)
  guest.vm.setClock(new Uint8Array(48))
  const nanoseconds = new DataView(guest.vm.clock().buffer).getBigUint64(0, true)
  t.true(nanoseconds < 1_000_000_000n, `${nanoseconds} ns`)
  t.throws(() => guest.vm.setClock(new Uint8Array(47)), { code: 'EINVAL' })
})

test('trap handlers are complete, set once, and there before a vCPU runs', t => {
  const kvm = new (addon().Kvm)('/dev/kvm')
  const vm = kvm.createVm()
  const vcpu = vm.createVcpu(0)
  t.throws(() => vcpu.run('vcpu0'), { message: /no trap handlers/ })
  const handlers = { read: () => 0, write: () => {}, endOfInterrupt: () => {}, stopped: () => {} }
  const incomplete: object = { read: handlers.read }
  t.throws(() => Reflect.apply(vm.setTrapHandlers, vm, [incomplete, () => {}]), { instanceOf: TypeError })
  vm.setTrapHandlers(handlers, () => {})
  t.throws(() => vm.setTrapHandlers(handlers, () => {}), { message: /already/ })
  vm.close()
  kvm.close()
  t.throws(() => kvm.createVm(), { message: /closed/ })
})

test('a device that is not KVM, or not there, says so', t => {
  t.throws(() => new (addon().Kvm)('/nowhere'), { code: 'ENOENT' })
  t.like(
    t.throws(() => new (addon().Kvm)('/dev/null')),
    { code: 'ENOTTY', syscall: 'KVM_GET_API_VERSION' },
  )
})

test('objects of other classes are refused', t => {
  using guest = new TinyGuest()
  const impostor: object = { fd: 0 }
  t.throws(() => Reflect.apply(guest.vm.attachIrqfd, guest.vm, [5, impostor]), { instanceOf: TypeError })
  t.throws(() => Reflect.apply(guest.vm.attachIrqfd, guest.vm, [5, guest.memory]), { instanceOf: TypeError })
  t.throws(() => Reflect.apply(guest.vm.exitCounters, impostor, []))
  t.throws(() => Reflect.construct(guest.vm.constructor, []).exitCounters(), { message: /closed/ })
})

class DisposableEventFds {
  readonly #all: NativeEventFd[] = []

  create(): NativeEventFd {
    const eventFd = new (addon().EventFd)()
    this.#all.push(eventFd)
    return eventFd
  }

  [Symbol.dispose](): void {
    for (const eventFd of this.#all) eventFd.close()
  }
}
