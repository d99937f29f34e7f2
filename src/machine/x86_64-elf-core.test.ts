import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { coreNotes } from '../hypervisor/x86_64/core-notes.ts'
import {
  generalRegisters,
  kvmRegs,
  kvmSegment,
  kvmSregs,
  segmentNames,
  segmentOffset,
} from '../hypervisor/x86_64/registers.ts'
import { concatenate } from '../util/bytes.ts'
import { coreLayout } from './elf-core.ts'

/** Every register has a value of its own. */
function registers() {
  const regs = new Uint8Array(kvmRegs.sizeBytes)
  for (const [index, name] of generalRegisters.entries()) kvmRegs.write(regs, { [name]: 0x100 + index })
  const sregs = new Uint8Array(kvmSregs.sizeBytes)
  for (const [index, name] of segmentNames.entries()) {
    const segment = {
      base: 0x1000 + index,
      limit: 0xfffff,
      selector: 8 * index,
      type: 0xb,
      s: 1,
      present: 1,
      l: 1,
      g: 1,
    }
    kvmSegment.write(sregs, segment, segmentOffset(name))
  }
  kvmSregs.write(sregs, { cr0: 1, cr2: 2, cr3: 3, cr4: 4, gdtBase: 5, gdtLimit: 6, idtBase: 7, idtLimit: 8 })
  return { regs, sregs, kernelGsBase: 9n }
}

test('readelf sees notes of each vCPU and memory by its physical address', t => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-core-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const notes = concatenate([coreNotes(0, registers()), coreNotes(1, registers())])
  const ranges = [
    { guestAddress: 0, sizeBytes: 0x3000 },
    { guestAddress: 0x1_0000_0000, sizeBytes: 0x1000 },
  ]
  const { header, segments } = coreLayout(62, notes, ranges)
  t.deepEqual(segments, [
    { ...ranges[0], offset: 0x1000 },
    { ...ranges[1], offset: 0x4000 },
  ])
  const path = join(folder, 'core')
  writeFileSync(path, concatenate([header, new Uint8Array(0x5000 - header.length)]))
  const shown = execFileSync('readelf', ['--wide', '--file-header', '--program-headers', '--notes', path], {
    encoding: 'utf8',
  })
  t.regex(shown, /Type: +CORE /)
  t.regex(shown, /Machine: +Advanced Micro Devices X86-64/)
  t.regex(shown, /LOAD +0x001000 0x0+ 0x0000000000000000 0x003000 0x003000 /)
  t.regex(shown, /LOAD +0x004000 0x0+ 0x0000000100000000 0x001000 0x001000 /)
  t.is([...shown.matchAll(/CORE +0x00000150\s+NT_PRSTATUS/g)].length, 2)
  t.is([...shown.matchAll(/QEMU +0x000001b8/g)].length, 2)
})

test('a debugger finds the registers where Linux has them, and QEMU’s note has the rest', t => {
  const notes = coreNotes(2, registers())
  const view = new DataView(notes.buffer)
  const status = 20
  t.is(view.getUint32(status + 32, true), 3)
  const registerAt = (index: number) => Number(view.getBigUint64(status + 112 + 8 * index, true))
  const rip = 0x100 + generalRegisters.indexOf('rip')
  // struct user_regs_struct: r15 first, rip is number 16, rsp 19, fs_base 21.
  t.deepEqual([registerAt(0), registerAt(16), registerAt(19)], [0x100 + generalRegisters.indexOf('r15'), rip, 0x106])
  t.is(registerAt(21), 0x1000 + segmentNames.indexOf('fs'))
  const state = status + 336 + 20
  t.deepEqual([view.getUint32(state, true), view.getUint32(state + 4, true)], [1, 440])
  t.is(Number(view.getBigUint64(state + 8 + 8 * 16, true)), rip)
  const cs = state + 152
  // Code, present, 64-bit, in pages: 0xa09b00.
  t.is(view.getUint32(cs + 8, true), 0xa0_9b00)
  const fifth = (place: number) => Number(view.getBigUint64(state + 392 + 8 * place, true))
  t.deepEqual([0, 1, 2, 3, 4, 5].map(fifth), [1, 0, 2, 3, 4, 9])
  const gdt = cs + 8 * 24
  t.deepEqual([view.getUint32(gdt + 4, true), Number(view.getBigUint64(gdt + 16, true))], [6, 5])
})
