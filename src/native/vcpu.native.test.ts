import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { addon } from './addon.ts'
import { op, TinyGuest } from './testing/tiny-guest.native.ts'

const done = 0x40
const mmio = { segment: 0xd000, address: 0xd_0000 } as const

function threadNames(): string[] {
  return readdirSync('/proc/self/task').map(id => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim())
}

test('an endless loop is parked and goes on where it was', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  // inc byte [0x5000]; for ever
  const vcpu = guest.addVcpu(op.out8(done, 0), op.forever([0xfe, 0x06, 0x00, 0x50]))
  t.true(vcpu.isParked)
  vcpu.run('vcpu0')
  t.false(vcpu.isParked)
  await out.until(1)
  const count = () => guest.memory.read(0x5000, 1)[0]
  for (let round = 0; round < 20; round += 1) {
    await vcpu.park()
    t.true(vcpu.isParked)
    const atPark = count()
    await sleep(1)
    t.is(count(), atPark)
    vcpu.run('vcpu0')
    while (count() === atPark) await sleep(1)
  }
})

test('a vCPU that is slowed down runs for a share of the time, and is parked at once', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  // inc word [0x5000]; for ever
  const vcpu = guest.addVcpu(op.out8(done, 0), op.forever([0xff, 0x06, 0x00, 0x50]))
  t.throws(() => vcpu.throttle(100), { instanceOf: RangeError })
  vcpu.run('vcpu0')
  await out.until(1)
  // Sleeps for 990 ms of each second.
  vcpu.throttle(99)
  const word = () => new DataView(guest.memory.read(0x5000, 2).buffer).getUint16(0, true)
  let still = 0
  for (let last = word(), looks = 0; looks < 40; looks += 1) {
    await sleep(25)
    const now = word()
    still += now === last ? 1 : 0
    last = now
  }
  t.true(still >= 20, `it stood still at ${still} of 40 looks`)
  const begun = performance.now()
  await vcpu.park()
  t.true(performance.now() - begun < 500)
  vcpu.throttle(0)
  vcpu.run('vcpu0')
  const before = word()
  while (word() === before) await sleep(1)
  vcpu.throttle(99)
  await sleep(50)
  const slow = word()
  vcpu.throttle(0)
  while (word() === slow) await sleep(1)
  t.pass()
})

test('park and run are idempotent', async t => {
  using guest = new TinyGuest()
  const vcpu = guest.addVcpu(op.forever([0x90]))
  await vcpu.park()
  vcpu.run('vcpu0')
  vcpu.run('vcpu0')
  await Promise.all([vcpu.park(), vcpu.park()])
  await vcpu.park()
  t.true(vcpu.isParked)
})

test('a vCPU that is being parked cannot be told to run', async t => {
  using guest = new TinyGuest()
  const vcpu = guest.addVcpu(op.forever([0x90]))
  vcpu.run('vcpu0')
  const parked = vcpu.park()
  t.throws(() => vcpu.run('vcpu0'), { message: /being parked/ })
  await parked
  vcpu.run('vcpu0')
  t.pass()
})

test('a park inside a trap completes the access first', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  let parked: Promise<void> | undefined
  const vcpu = guest.addVcpu(op.in8(0x10), op.outAl(done), op.haltForever)
  guest.map('pio', 0x10, {
    read: () => {
      parked = vcpu.park()
      return 0x5a
    },
  })
  const begin = guest.instructionPointer(vcpu)
  vcpu.run('vcpu0')
  while (parked === undefined) await sleep(1)
  await parked
  t.is(guest.instructionPointer(vcpu), begin + 2, 'the instruction is behind it')
  t.deepEqual(out.values, [])
  const registers = vcpu.getRegisters('regs')
  t.is(registers[0], 0x5a, 'its answer is in al')
  vcpu.run('vcpu0')
  await out.until(1)
  t.deepEqual(out.values, [0x5a])
})

test('a park between the two accesses of one instruction loses neither', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  let parked: Promise<void> | undefined
  const reads: number[] = []
  const vcpu = guest.addVcpu(op.useSegment(mmio.segment), op.load32(0xffe), op.outEax(done), op.haltForever)
  guest.map('mmio', mmio.address, {
    sizeBytes: 0x2000,
    read: offset => {
      reads.push(offset)
      parked ??= vcpu.park()
      return offset < 0x1000 ? 0x1111_1111 : 0x2222_2222
    },
  })
  vcpu.run('vcpu0')
  while (parked === undefined) await sleep(1)
  await parked
  t.deepEqual(reads, [0xffe, 0x1000])
  vcpu.run('vcpu0')
  await out.until(1)
  t.deepEqual(out.values, [0x2222_1111])
})

test('parks amid a storm of traps neither hang nor lose one', async t => {
  using guest = new TinyGuest()
  let count = 0
  guest.map('pio', 0x10, {
    write: () => {
      count += 1
    },
  })
  for (let index = 0; index < 4; index += 1) guest.addVcpu(op.forever(op.out8(0x10, 1)))
  for (let round = 0; round < 30; round += 1) {
    guest.run()
    await sleep(2)
    await guest.park()
    t.is(guest.vm.exitCounters().trapped, count)
  }
  t.true(count > 100)
})

test('registers of a running vCPU are out of reach', async t => {
  using guest = new TinyGuest()
  const vcpu = guest.addVcpu(op.forever([0x90]))
  vcpu.run('vcpu0')
  t.throws(() => vcpu.getRegisters('regs'), { message: /running/ })
  t.throws(() => vcpu.setRegisters('regs', new Uint8Array(144)), { message: /running/ })
  t.throws(() => vcpu.getMsrs(Uint32Array.of(0x10)), { message: /running/ })
  await vcpu.park()
  t.is(vcpu.getRegisters('regs').length, 144)
})

test('a triple fault is a shutdown, told when the vCPU is parked', async t => {
  using guest = new TinyGuest()
  const vcpu = guest.addVcpu(op.undefinedInstruction)
  guest.protect(vcpu)
  guest.run()
  t.deepEqual(await guest.stop(), { kind: 'shutdown', detail: [] })
  t.true(vcpu.isParked)
  t.is(vcpu.getRegisters('regs').length, 144)
})

test('what was posted before a stop arrives before it is told', async t => {
  using guest = new TinyGuest()
  let posted = 0
  guest.map('pio', 0x10, {
    spans: [{ offset: 0, lengthBytes: 1, read: 'trap', write: 'post' }],
    write: () => {
      posted += 1
    },
  })
  const vcpu = guest.addVcpu(...Array.from({ length: 100 }, () => op.out8(0x10, 1)), op.undefinedInstruction)
  guest.protect(vcpu)
  guest.run()
  await guest.stop()
  t.is(posted, 100)
})

test('an exit that nobody handles is told with its reason', async t => {
  using guest = new TinyGuest()
  guest.addVcpu(op.halt)
  guest.run()
  // KVM_EXIT_HLT: without an interrupt controller in the kernel, waiting is left to user space.
  t.deepEqual(await guest.stop(), { kind: 'unhandled', detail: [5] })
})

test('memory that the host cannot provide is an error of the run', async t => {
  using guest = new TinyGuest()
  const vcpu = guest.addVcpu(op.halt)
  // Code behind the RAM: there is nothing that could be emulated.
  guest.enter(vcpu, 0x9000)
  guest.run()
  const { kind } = await guest.stop()
  t.true(kind === 'internal-error' || kind === 'run-error', kind)
})

test('a handler that throws parks every vCPU and is told once', async t => {
  using guest = new TinyGuest()
  const failure = new Error('device out of order')
  guest.map('pio', 0x10, {
    write: () => {
      throw failure
    },
  })
  for (let index = 0; index < 3; index += 1) guest.addVcpu(op.forever(op.out8(0x10, 1)))
  guest.addVcpu(op.forever([0x90]))
  guest.run()
  t.is(await guest.failure(), failure)
  await guest.park()
  t.true(guest.vcpus.every(vcpu => vcpu.isParked))
  t.is(guest.errors.length, 1)
  t.throws(() => guest.run(), { message: /handler has failed/ })
})

test('a posted write whose handler throws stops the machine too', async t => {
  using guest = new TinyGuest()
  guest.map('pio', 0x10, {
    spans: [{ offset: 0, lengthBytes: 1, read: 'trap', write: 'post' }],
    write: () => {
      throw new Error('no more paper')
    },
  })
  guest.addVcpu(op.forever(op.out8(0x10, 1)))
  guest.run()
  t.like(await guest.failure(), { message: 'no more paper' })
  await guest.park()
  t.is(guest.errors.length, 1)
})

test('a virtual machine closes while its vCPUs run, trap and post', async t => {
  for (let round = 0; round < 10; round += 1) {
    const guest = new TinyGuest()
    guest.map('pio', 0x10, { spans: [{ offset: 0, lengthBytes: 1, read: 'trap', write: 'post' }] })
    guest.map('pio', 0x20, {})
    guest.addVcpu(op.forever([0x90]))
    guest.addVcpu(op.forever(op.out8(0x10, 1)))
    guest.addVcpu(op.forever(op.out8(0x20, 1)))
    guest.run()
    await sleep(round)
    const parked = guest.park()
    guest.close()
    await parked
    guest.close()
    t.throws(() => guest.vm.exitCounters(), { message: /closed/ })
    for (const vcpu of guest.vcpus) t.throws(() => vcpu.run('vcpu0'), { message: /closed/ })
  }
})

test('a handler may close the machine that called it', async t => {
  const guest = new TinyGuest()
  const closed = Promise.withResolvers<void>()
  guest.map('pio', 0x10, {
    read: () => {
      guest.close()
      closed.resolve()
      return 0
    },
  })
  guest.addVcpu(op.forever(op.in8(0x10)))
  guest.addVcpu(op.forever(op.in8(0x10)))
  guest.run()
  await closed.promise
  t.throws(() => guest.vm.clock(), { message: /closed/ })
})

test('a thread bears the name of its vCPU and runs where it may', async t => {
  using guest = new TinyGuest()
  const vcpu = guest.addVcpu(op.forever([0x90]))
  vcpu.setAffinity([0])
  vcpu.run('vcpu-of-a-test')
  while (!threadNames().includes('vcpu-of-a-test')) await sleep(1)
  t.throws(() => vcpu.setAffinity([60_000]), { code: 'EINVAL' })
  vcpu.setAffinity([0])
  await vcpu.park()
  guest.close()
  t.false(threadNames().includes('vcpu-of-a-test'))
})

test('a vCPU that may run nowhere does not start', async t => {
  using guest = new TinyGuest()
  const vcpu = guest.addVcpu(op.forever([0x90]))
  vcpu.setAffinity([60_000])
  t.throws(() => vcpu.run('vcpu0'), { code: 'EINVAL' })
  await vcpu.park()
  vcpu.setAffinity([0])
  vcpu.run('vcpu0')
  t.false(vcpu.isParked)
})

test('register files come back as they were written', t => {
  using guest = new TinyGuest({ irqchip: true })
  const vcpu = guest.addVcpu(op.halt)
  const files = ['regs', 'sregs', 'fpu', 'xsave', 'xcrs', 'lapic', 'events', 'debugregs', 'mp-state'] as const
  for (const file of files) {
    const before = vcpu.getRegisters(file)
    vcpu.setRegisters(file, before)
    t.deepEqual(vcpu.getRegisters(file), before, file)
    t.throws(() => vcpu.setRegisters(file, before.subarray(1)), { code: 'EINVAL' }, file)
  }
  const registers = vcpu.getRegisters('regs')
  registers[0] = 0x77
  vcpu.setRegisters('regs', registers)
  t.is(vcpu.getRegisters('regs')[0], 0x77)
})

test('MSRs are read up to the first that the hypervisor refuses', t => {
  using guest = new TinyGuest()
  const vcpu = guest.addVcpu(op.halt)
  const star = 0xc000_0081
  vcpu.setMsrs(Uint32Array.of(star), BigUint64Array.of(0x23_0010_0000_0000n))
  t.deepEqual(vcpu.getMsrs(Uint32Array.of(star, 0x7777_7777, star)), BigUint64Array.of(0x23_0010_0000_0000n))
  const error = t.throws(() => vcpu.setMsrs(Uint32Array.of(star, 0x7777_7777), new BigUint64Array(2)), {
    code: 'EINVAL',
  })
  t.like(error, { msr: 0x7777_7777, syscall: 'KVM_SET_MSRS' })
  t.throws(() => vcpu.setMsrs(Uint32Array.of(star), new BigUint64Array(2)), { code: 'EINVAL' })
})

test('CPUID entries that the host supports are taken', t => {
  using guest = new TinyGuest()
  const vcpu = guest.addVcpu(op.halt)
  const kvm = new (addon().Kvm)('/dev/kvm')
  const entries = kvm.supportedCpuid()
  kvm.close()
  t.is(entries.length % 40, 0)
  vcpu.setCpuid(entries)
  t.true(vcpu.tscKilohertz() > 0)
  t.throws(() => vcpu.setCpuid(new Uint8Array(39)), { code: 'EINVAL' })
})
