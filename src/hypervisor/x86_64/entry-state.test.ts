import test from 'ava'
import { bootMsrs, enterFlatProtectedMode, entryRegs, flatGdt, wireLocalInterrupts } from './entry-state.ts'
import { kvmLapic, kvmRegs, kvmSegment, kvmSregs, segmentOffset } from './registers.ts'

test('descriptors are those of the PVH specification', t => {
  const table = Buffer.from(flatGdt())
  t.deepEqual(
    [0, 8, 16, 24].map(offset => table.readBigUInt64LE(offset)),
    [0n, 0x00cf9b000000ffffn, 0x00cf93000000ffffn, 0x00008b0000000067n],
  )
})

test('a vCPU enters in flat protected mode without paging', t => {
  const sregs = kvmSregs.encode({ cr0: 0x6000_0010n, cr3: 1, cr4: 2, efer: 3, apicBase: 0xfee0_0900n })
  enterFlatProtectedMode(sregs, 0x500, 0x520)
  t.is(kvmSregs.read(sregs, 'cr0'), 0x11n)
  for (const name of ['cr3', 'cr4', 'efer'] as const) t.is(kvmSregs.read(sregs, name), 0n)
  t.is(kvmSregs.read(sregs, 'apicBase'), 0xfee0_0900n)
  t.is(kvmSregs.readNumber(sregs, 'gdtBase'), 0x500)
  t.is(kvmSregs.readNumber(sregs, 'gdtLimit'), 31)
  t.is(kvmSregs.readNumber(sregs, 'idtBase'), 0x520)
  t.is(kvmSregs.readNumber(sregs, 'idtLimit'), 7)
})

test('code, data and task segments match their descriptors', t => {
  const sregs = new Uint8Array(kvmSregs.sizeBytes)
  enterFlatProtectedMode(sregs, 0x500, 0x520)
  const segment = (name: Parameters<typeof segmentOffset>[0]) =>
    (['selector', 'base', 'limit', 'type', 's', 'db', 'g', 'present', 'unusable'] as const).map(field =>
      kvmSegment.readNumber(sregs, field, segmentOffset(name)),
    )
  t.deepEqual(segment('cs'), [0x08, 0, 0xffff_ffff, 0xb, 1, 1, 1, 1, 0])
  for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) {
    t.deepEqual(segment(name), [0x10, 0, 0xffff_ffff, 0x3, 1, 1, 1, 1, 0])
  }
  t.deepEqual(segment('tr'), [0x18, 0, 0x67, 0xb, 0, 0, 0, 1, 0])
})

test('registers carry what the protocol passes, and nothing else', t => {
  const regs = entryRegs({ rip: 0x100_0000, rbx: 0x6000, rsi: 0x7000, rsp: 0x8ff0 })
  const wanted = { rip: 0x100_0000, rbx: 0x6000, rsi: 0x7000, rsp: 0x8ff0, rflags: 2 }
  t.deepEqual(regs, kvmRegs.encode(wanted))
})

test('local interrupts get their modes and keep their masks', t => {
  const lapic = kvmLapic.encode({ lint0: 0x700, lint1: 0x1_0000 })
  wireLocalInterrupts(lapic)
  t.is(kvmLapic.readNumber(lapic, 'lint0'), 0x700)
  t.is(kvmLapic.readNumber(lapic, 'lint1'), 0x1_0400)
})

test('memory is write-back without a word from firmware', t => {
  t.is(new Map(bootMsrs).get(0x2ff), 0x806n)
})
