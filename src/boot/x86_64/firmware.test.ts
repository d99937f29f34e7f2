import test from 'ava'
import { SoftwareMemory } from '../../memory/testing/software-memory.ts'
import { addressMap, memoryMap, ramRanges } from '../../platform/x86_64/address-map.ts'
import { buildElf, word } from '../testing/elf-builder.ts'
import { ScratchFiles } from '../testing/files.ts'
import { startInfo } from './layout.ts'
import { loadKernel } from './load.ts'
import { buildBzImage } from './testing/bzimage-builder.ts'

const ramBytes = 32 * 1024 * 1024
const i386 = 3
const code = Uint8Array.of(0xeb, 0xfe)

/** Loads into a fresh machine of 32 MiB. */
async function load(contents: Uint8Array) {
  using files = new ScratchFiles()
  const memory = new SoftwareMemory({ guestAddress: 0, sizeBytes: ramBytes })
  const machine = { memory, ram: ramRanges(ramBytes), rsdpAddress: addressMap.rsdp }
  const kernel = files.write('firmware', contents)
  const entry = await loadKernel(machine, { kernel, isFirmware: true, initramfs: undefined, commandLine: '' })
  return { memory, entry }
}

test('firmware is entered as a PVH kernel is, and finds tables and memory', async t => {
  // As CLOUDHV.fd: from the first megabyte on, 32-bit code in a 64-bit ELF that says i386.
  const segments = [{ address: 0x10_0000, contents: code, memoryBytes: 0x40_0000 }]
  const { memory, entry } = await load(buildElf({ machine: i386, segments, notes: [{ contents: word(0x10_0000) }] }))
  t.deepEqual(entry, { rip: 0x10_0000, rbx: 0x6000, rsi: 0, rsp: 0 })
  t.deepEqual(memory.read(0x10_0000, code.length), code)
  const info = memory.read(entry.rbx, startInfo.sizeBytes)
  t.is(startInfo.readNumber(info, 'rsdp'), addressMap.rsdp)
  t.is(startInfo.readNumber(info, 'moduleCount'), 0)
  t.is(startInfo.readNumber(info, 'memoryMapEntries'), memoryMap(ramRanges(ramBytes)).length)
})

test('what is no firmware for this machine is refused, with what it is', async t => {
  const refuses = async (contents: Uint8Array, code: string, says: RegExp) => {
    const error = await t.throwsAsync(load(contents), { code, message: says })
    t.false(error?.message.includes('\n'))
  }
  const volume = Buffer.alloc(0x1000)
  volume.write('_FVH', 0x28)
  await refuses(volume, 'ERR_KERNEL_FORMAT', /^--firmware \S+: not firmware: a bare UEFI firmware volume/)
  await refuses(buildBzImage(), 'ERR_KERNEL_FORMAT', /^--firmware \S+: not firmware: a bzImage; give it as --kernel$/)
  await refuses(Buffer.from('#!/bin/sh'), 'ERR_KERNEL_FORMAT', /not firmware: an ELF with a PVH note is needed$/)
  await refuses(Buffer.from('QFI\xfb', 'latin1'), 'ERR_KERNEL_FORMAT', /not firmware: a disk image \(qcow2\)$/)
  const withoutNote = buildElf({ segments: [{ address: 0x10_0000, contents: code }] })
  await refuses(
    withoutNote,
    'ERR_KERNEL_NO_PVH_NOTE',
    /^--firmware .* no PVH entry note; is it made for another VMM\?$/,
  )
  const tooHigh = { segments: [{ address: ramBytes, contents: code }], notes: [{ contents: word(ramBytes) }] }
  await refuses(
    buildElf(tooHigh),
    'ERR_KERNEL_TOO_LARGE',
    /^--firmware .* is not free RAM; is --memory large enough\?$/,
  )
})
