import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import { addon } from './addon.ts'
import { op, TinyGuest } from './testing/tiny-guest.native.ts'

const done = 0x40
const pageBytes = 0x1000
const ramPages = 8

function pagesOf(bits: Uint8Array): number[] {
  return [...bits].flatMap((byte, index) =>
    [...Array(8).keys()].filter(bit => byte & (1 << bit)).map(bit => index * 8 + bit),
  )
}

test('what vCPUs write and what this process writes are one answer, given once', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  guest.addVcpu(op.store8(0x5000, 1), op.store8(0x7fff, 1), op.out8(done, 0), op.haltForever)
  t.false(guest.vm.isTrackingDirtyPages)
  guest.vm.startDirtyTracking(guest.memory)
  t.true(guest.vm.isTrackingDirtyPages)
  guest.run()
  await out.until(1)
  await guest.park()
  guest.memory.write(0x2ffe, Uint8Array.of(1, 2, 3))
  guest.memory.fill(0x4001, 1, 1)
  guest.memory.markDirty(0x6000, 1)
  const bits = guest.vm.takeDirtyPages()
  t.is(bits.length, 8)
  const pages = pagesOf(bits)
  for (const page of [2, 3, 4, 5, 6, 7]) t.true(pages.includes(page), `${page} of ${pages}`)
  t.false(pages.includes(0))
  t.deepEqual(guest.vm.takeDirtyPages(), new Uint8Array(8))
})

test('a start begins anew, and only one at a time', t => {
  using guest = new TinyGuest()
  t.throws(() => guest.vm.takeDirtyPages(), { code: 'EINVAL' })
  guest.vm.stopDirtyTracking()
  guest.vm.startDirtyTracking(guest.memory)
  t.throws(() => guest.vm.startDirtyTracking(guest.memory), { code: 'EALREADY' })
  guest.memory.write(0, Uint8Array.of(1))
  guest.vm.stopDirtyTracking()
  guest.memory.write(pageBytes, Uint8Array.of(1))
  guest.vm.startDirtyTracking(guest.memory)
  t.deepEqual(pagesOf(guest.vm.takeDirtyPages()), [])
})

test('two machines do not track the same memory', t => {
  using guest = new TinyGuest()
  using other = new TinyGuest()
  guest.vm.startDirtyTracking(guest.memory)
  t.throws(() => other.vm.startDirtyTracking(guest.memory), { code: 'EALREADY' })
  t.false(other.vm.isTrackingDirtyPages)
  guest.close()
  other.vm.startDirtyTracking(other.memory)
})

test('memory that comes or whose slot changes while pages are tracked counts as written', t => {
  using guest = new TinyGuest()
  guest.vm.startDirtyTracking(guest.memory)
  const address = 0x10_0000
  const mapping = new (addon().Mapping)({ sizeBytes: 2 * pageBytes, backing: 'anonymous' })
  guest.memory.add(address, mapping, 0, 2 * pageBytes)
  const slot = { slot: 1, guestAddress: address, mapping, mappingOffset: 0, sizeBytes: 2 * pageBytes }
  guest.vm.setMemorySlot(slot)
  t.deepEqual(pagesOf(guest.vm.takeDirtyPages()), [ramPages, ramPages + 1])
  t.deepEqual(pagesOf(guest.vm.takeDirtyPages()), [])
  guest.vm.removeMemorySlot(1)
  t.deepEqual(pagesOf(guest.vm.takeDirtyPages()), [ramPages, ramPages + 1])
  mapping.close()
})

test('whoever takes first and copies then has all in the end, while the guest writes', async t => {
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  // inc word [0x5000]; inc word [0x6ffe]
  const count = [0xff, 0x06, 0x00, 0x50, 0xff, 0x06, 0xfe, 0x6f]
  guest.addVcpu(op.out8(done, 0), op.forever(count))
  guest.vm.startDirtyTracking(guest.memory)
  const copy = guest.memory.read(0, ramPages * pageBytes)
  const round = () => {
    const pages = pagesOf(guest.vm.takeDirtyPages())
    for (const page of pages) copy.set(guest.memory.read(page * pageBytes, pageBytes), page * pageBytes)
    return pages
  }
  guest.run()
  await out.until(1)
  for (let writes = 0; writes < 50; ) {
    if (round().includes(6)) writes += 1
    await turn()
  }
  await guest.park()
  round()
  t.deepEqual(copy, guest.memory.read(0, ramPages * pageBytes))
  t.deepEqual(round(), [])
})
