import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { SoftwareMemory } from '../../memory/testing/software-memory.ts'
import { addressMap, memoryMap, ramRanges } from '../../platform/x86_64/address-map.ts'
import { readNumber, readUint } from '../../util/bytes.ts'
import { TsvmmError } from '../../util/errors.ts'
import { buildElf, type ElfSketch, word } from '../testing/elf-builder.ts'
import { ScratchFiles } from '../testing/files.ts'
import { bootParams, e820Entry, e820TableOffset, startInfo, startMemory, startModule } from './layout.ts'
import { loadKernel } from './load.ts'
import { buildBzImage } from './testing/bzimage-builder.ts'

const mebibyte = 1024 * 1024
const ramBytes = 32 * mebibyte
const code = Uint8Array.from({ length: 256 }, (_, index) => index)
const aKernel: ElfSketch = {
  segments: [{ address: 0x100_0000, contents: code, memoryBytes: 0x2000 }],
  notes: [{ contents: word(0x100_0010) }],
}

interface Attempt {
  readonly kernel: Uint8Array
  readonly initramfs?: Uint8Array
  readonly commandLine?: string
}

/** Loads into a fresh machine of 32 MiB. */
async function load({ kernel, initramfs, commandLine = '' }: Attempt) {
  using files = new ScratchFiles()
  const memory = new SoftwareMemory({ guestAddress: 0, sizeBytes: ramBytes })
  const entry = await loadKernel(
    { memory, ram: ramRanges(ramBytes), rsdpAddress: addressMap.rsdp },
    {
      kernel: files.write('kernel', kernel),
      initramfs: initramfs && files.write('initramfs', initramfs),
      commandLine,
    },
  )
  return { memory, entry }
}

function commandLineOf(memory: SoftwareMemory): string {
  const bytes = Buffer.from(memory.read(addressMap.commandLine, 0x10000))
  return bytes.subarray(0, bytes.indexOf(0)).toString()
}

function pvhMemoryMap(memory: SoftwareMemory, startInfoAddress: number) {
  const info = memory.read(startInfoAddress, startInfo.sizeBytes)
  const first = startInfo.readNumber(info, 'memoryMap')
  return Array.from({ length: startInfo.readNumber(info, 'memoryMapEntries') }, (_, index) => {
    const entryBytes = memory.read(first + index * startMemory.sizeBytes, startMemory.sizeBytes)
    const read = (name: 'address' | 'sizeBytes' | 'type') => startMemory.readNumber(entryBytes, name)
    return { address: read('address'), sizeBytes: read('sizeBytes'), type: read('type') }
  })
}

test('an ELF is entered where its PVH note says, with its segments in place', async t => {
  const { memory, entry } = await load({ kernel: buildElf(aKernel) })
  t.deepEqual(entry, { rip: 0x100_0010, rbx: 0x6000, rsi: 0, rsp: 0 })
  t.deepEqual(memory.read(0x100_0000, 256), code)
})

test('PVH finds command line, memory map and ACPI through its start information', async t => {
  const { memory, entry } = await load({ kernel: buildElf(aKernel), commandLine: 'console=hvc0 ünïcode' })
  const info = memory.read(entry.rbx, startInfo.sizeBytes)
  const field = (name: Parameters<typeof startInfo.read>[1]) => startInfo.readNumber(info, name)
  t.is(field('magic'), 0x336ec578)
  t.is(field('version'), 1)
  t.is(field('moduleCount'), 0)
  t.is(field('rsdp'), 0xa0000)
  t.is(field('commandLine'), 0x20000)
  t.is(commandLineOf(memory), 'console=hvc0 ünïcode')
  t.deepEqual(pvhMemoryMap(memory, entry.rbx), memoryMap(ramRanges(ramBytes)))
})

test('descriptor tables and the pointer to the firmware’s data area are written', async t => {
  const { memory } = await load({ kernel: buildElf(aKernel) })
  t.is(readUint(memory.read(0x508, 8), 0, 8), 0x00cf9b000000ffffn)
  t.is(readUint(memory.read(0x520, 8), 0, 8), 0n)
  t.is(readNumber(memory.read(0x40e, 2), 0, 2), 0xa000)
})

test('an initramfs goes to the end of RAM, on a page of its own', async t => {
  const { memory, entry } = await load({ kernel: buildElf(aKernel), initramfs: new Uint8Array(0x1234).fill(7) })
  const info = memory.read(entry.rbx, startInfo.sizeBytes)
  t.is(startInfo.readNumber(info, 'moduleCount'), 1)
  const module = memory.read(startInfo.readNumber(info, 'modules'), startModule.sizeBytes)
  t.is(startModule.readNumber(module, 'sizeBytes'), 0x1234)
  const address = startModule.readNumber(module, 'address')
  t.is(address, ramBytes - 0x2000)
  t.true(memory.read(address, 0x1234).every(byte => byte === 7))
})

test('an initramfs makes way for a kernel at the end of RAM', async t => {
  const top = ramBytes - 0x2000
  const kernel = buildElf({
    segments: [{ address: top, contents: code, memoryBytes: 0x2000 }],
    notes: [{ contents: word(top) }],
  })
  const { memory } = await load({ kernel, initramfs: new Uint8Array(0x800).fill(7) })
  t.is(memory.read(top - 0x1000, 1)[0], 7)
})

test('an entry of 64 bits and a kernel of 32 bits are taken', async t => {
  const wide = Buffer.concat([word(0x100_0010), word(0)])
  t.is((await load({ kernel: buildElf({ ...aKernel, notes: [{ contents: wide }] }) })).entry.rip, 0x100_0010)
  t.is((await load({ kernel: buildElf({ ...aKernel, bits: 32, machine: 3 }) })).entry.rip, 0x100_0010)
})

test('a bzImage is entered at its begin, above the tables', async t => {
  const { memory, entry } = await load({ kernel: buildBzImage() })
  t.deepEqual(entry, { rip: 0x10_0000, rbx: 0, rsi: 0x7000, rsp: 0x8ff0 })
  t.deepEqual([...memory.read(0x10_0000, 2), ...memory.read(0x10_3fff, 2)], [0x90, 0x90, 0x90, 0])
})

test('a bzImage finds its parameters in the zero page', async t => {
  const { memory, entry } = await load({
    kernel: buildBzImage(),
    initramfs: new Uint8Array(0x1234).fill(7),
    commandLine: 'quiet',
  })
  const page = memory.read(entry.rsi, bootParams.sizeBytes)
  const field = (name: Parameters<typeof bootParams.read>[1]) => bootParams.readNumber(page, name)
  t.is(field('magic'), 0x53726448)
  t.is(field('loaderType'), 0xff)
  t.is(field('rsdp'), 0xa0000)
  t.is(field('commandLine'), 0x20000)
  t.is(commandLineOf(memory), 'quiet')
  t.is(field('initramfs'), ramBytes - 0x2000)
  t.is(field('initramfsBytes'), 0x1234)
  const map = Array.from({ length: field('e820Entries') }, (_, index) => {
    const read = (name: 'address' | 'sizeBytes' | 'type') =>
      e820Entry.readNumber(page, name, e820TableOffset + index * e820Entry.sizeBytes)
    return { address: read('address'), sizeBytes: read('sizeBytes'), type: read('type') }
  })
  t.deepEqual(map, memoryMap(ramRanges(ramBytes)))
})

test('nothing but the setup header is taken from a bzImage into the zero page', async t => {
  const image = buildBzImage({ fields: { headerEnd: 0xff } })
  image.fill(0xaa, 0x290, 0x400)
  const { memory } = await load({ kernel: image })
  t.true(memory.read(0x7290, 0x40).every(byte => byte === 0))
  t.is(memory.read(0x7000, 1)[0], 0)
})

test('an initramfs stays below what a bzImage can reach', async t => {
  const { memory } = await load({
    kernel: buildBzImage({ fields: { initramfsMaximum: 0x1bf_ffff } }),
    initramfs: new Uint8Array(0x1000).fill(7),
  })
  t.is(memory.read(0x1bf_f000, 1)[0], 7)
})

test('a bzImage that cannot be moved is loaded at 1 MiB and keeps the place it moves to free', async t => {
  const fields = { isRelocatable: 0, preferredAddress: 0x140_0000, initBytes: 0xb0_0000 }
  const attempt = { kernel: buildBzImage({ fields }), initramfs: new Uint8Array(0x10_0000).fill(7) }
  const { memory, entry } = await load(attempt)
  t.is(entry.rip, 0x10_0000)
  t.is(memory.read(0x1f0_0000, 1)[0], 7)
  await refuses(t, { ...attempt, initramfs: new Uint8Array(0x10_1000) }, 'ERR_INITRAMFS', /there is room for 1048576/)
})

test('a bzImage is entered by its 32-bit code, whether it has 64-bit code or not', async t => {
  const image = buildBzImage()
  const extendedLoadFlags = 0x236
  image.fill(0, extendedLoadFlags, extendedLoadFlags + 2)
  t.is((await load({ kernel: image })).entry.rip, 0x10_0000)
})

test('loading again into cleared memory gives the same', async t => {
  using files = new ScratchFiles()
  const memory = new SoftwareMemory({ guestAddress: 0, sizeBytes: ramBytes })
  const machine = { memory, ram: ramRanges(ramBytes), rsdpAddress: addressMap.rsdp }
  const source = {
    kernel: files.write('kernel', buildElf(aKernel)),
    initramfs: files.write('initramfs', code),
    commandLine: 'quiet',
  }
  const first = await loadKernel(machine, source)
  const seen = memory.read(0, ramBytes)
  memory.clear()
  t.deepEqual(await loadKernel(machine, source), first)
  t.true(Buffer.from(memory.read(0, ramBytes)).equals(seen))
})

test('RAM around the hole below 4 GiB is told as it is, and used below it only', async t => {
  using files = new ScratchFiles()
  const gibibyte = 1024 * mebibyte
  const ram = ramRanges(5 * gibibyte)
  // What is written lies in these parts of it.
  const memory = new SoftwareMemory(
    { guestAddress: 0, sizeBytes: 32 * mebibyte },
    { guestAddress: 3 * gibibyte - mebibyte, sizeBytes: mebibyte },
  )
  const kernel = files.write('kernel', buildElf(aKernel))
  const initramfs = files.write('initramfs', new Uint8Array(0x1234).fill(7))
  const entry = await loadKernel({ memory, ram, rsdpAddress: addressMap.rsdp }, { kernel, initramfs, commandLine: '' })
  t.deepEqual(pvhMemoryMap(memory, entry.rbx), [
    { address: 0, sizeBytes: 0xa0000, type: 1 },
    { address: 0xe_e000, sizeBytes: 0x2000, type: 2 },
    { address: 0x10_0000, sizeBytes: 3 * gibibyte - mebibyte, type: 1 },
    { address: 0xe800_0000, sizeBytes: 0x1000_0000, type: 2 },
    { address: 4 * gibibyte, sizeBytes: 2 * gibibyte, type: 1 },
  ])
  t.is(memory.read(3 * gibibyte - 0x2000, 1)[0], 7)
})

async function refuses(t: ExecutionContext, attempt: Attempt, code: string, says: RegExp): Promise<void> {
  const error = await t.throwsAsync(load(attempt), { code, message: says })
  t.false(error?.message.includes('\n'))
}

test('whatever is in the headers, a kernel is loaded within RAM or refused by name', async t => {
  using files = new ScratchFiles()
  const memory = new SoftwareMemory({ guestAddress: 0, sizeBytes: ramBytes })
  const machine = { memory, ram: ramRanges(ramBytes), rsdpAddress: addressMap.rsdp }
  const initramfs = files.write('initramfs', code)
  const codes = ['ERR_KERNEL_FORMAT', 'ERR_KERNEL_TOO_LARGE', 'ERR_KERNEL_NO_PVH_NOTE', 'ERR_INITRAMFS', 'ERR_CMDLINE']
  const attempt = async (whole: Uint8Array, changes: readonly [number, number][]) => {
    const bytes = whole.slice()
    for (const [offset, value] of changes) bytes[offset] = value
    try {
      const { rip } = await loadKernel(machine, {
        kernel: files.write('kernel', bytes),
        initramfs,
        commandLine: 'quiet',
      })
      return rip < ramBytes
    } catch (error) {
      return error instanceof TsvmmError && codes.includes(error.code)
    }
  }
  const anyByte = fc.nat(255)
  const changesIn = (first: number, last: number) =>
    fc.array(fc.tuple(fc.integer({ min: first, max: last }), anyByte), { minLength: 1, maxLength: 4 })
  const kernels = [
    { whole: buildElf(aKernel), changes: changesIn(4, 64 + 2 * 56) },
    { whole: buildBzImage(), changes: changesIn(0x1f1, 0x264) },
  ]
  for (const { whole, changes } of kernels) {
    await fc.assert(
      fc.asyncProperty(changes, each => attempt(whole, each)),
      { numRuns: 400 },
    )
  }
  t.pass()
})

test('an ELF without PVH note is refused with a way out', async t => {
  const says = /^--kernel .*: this ELF has no PVH entry note; build it with CONFIG_PVH=y/
  await refuses(t, { kernel: buildElf({ segments: aKernel.segments ?? [] }) }, 'ERR_KERNEL_NO_PVH_NOTE', says)
  const short = buildElf({ ...aKernel, notes: [{ contents: Uint8Array.of(1, 2) }] })
  await refuses(t, { kernel: short }, 'ERR_KERNEL_NO_PVH_NOTE', says)
})

test('an entry outside of what is loaded is refused', async t => {
  const outside = (address: number) => buildElf({ ...aKernel, notes: [{ contents: word(address) }] })
  for (const address of [0, 0xff_ffff, 0x100_0100]) {
    await refuses(t, { kernel: outside(address) }, 'ERR_KERNEL_FORMAT', /its PVH entry 0x[0-9a-f]+ is not in a segment/)
  }
})

test('a kernel that does not fit into RAM is refused', async t => {
  const at = (address: number, memoryBytes = 0x2000) =>
    buildElf({ segments: [{ address, contents: code, memoryBytes }], notes: [{ contents: word(address) }] })
  const says = /^--kernel .*: it needs memory from 0x[0-9a-f]+ to 0x[0-9a-f]+, which is not free RAM; is --memory/
  await refuses(t, { kernel: at(ramBytes - 0x1000) }, 'ERR_KERNEL_TOO_LARGE', says)
  await refuses(t, { kernel: at(0xe800_0000) }, 'ERR_KERNEL_TOO_LARGE', says)
  await refuses(t, { kernel: buildBzImage({ fields: { initBytes: 0x100_0001 } }) }, 'ERR_KERNEL_TOO_LARGE', says)
  await refuses(t, { kernel: buildBzImage({ fields: { alignmentBytes: 0x4000_0000 } }) }, 'ERR_KERNEL_TOO_LARGE', says)
  await t.notThrowsAsync(load({ kernel: at(ramBytes - 0x2000) }))
  await t.notThrowsAsync(load({ kernel: buildBzImage({ fields: { initBytes: 0x100_0000 } }) }))
})

test('a kernel in the place of our tables is refused, beside them not', async t => {
  const at = (address: number) =>
    buildElf({ segments: [{ address, contents: code }], notes: [{ contents: word(address) }] })
  for (const address of [0, 0x500, 0x6000, 0x8f01, 0x1ff01, 0x2ffff, 0x9ff01, 0xa0000, 0xfff00]) {
    await refuses(t, { kernel: at(address) }, 'ERR_KERNEL_TOO_LARGE', /which is not free RAM/)
  }
  for (const address of [0x9000, 0x1ff00, 0x30000, 0x9ff00, 0x10_0000])
    await t.notThrowsAsync(load({ kernel: at(address) }))
})

test('a file that is no kernel is refused, with a guess what it is', async t => {
  const refusesFile = (contents: Uint8Array, says: RegExp) =>
    refuses(t, { kernel: contents }, 'ERR_KERNEL_FORMAT', says)
  await refusesFile(Buffer.from('#!/bin/sh\n'), /not a kernel: an ELF with a PVH note or a bzImage is needed/)
  await refusesFile(Uint8Array.of(0x1f, 0x8b, 8), /compressed with gzip/)
  await refusesFile(Buffer.from('070701000'), /a cpio archive; is it the initramfs\?/)
  await refusesFile(Buffer.from(`${'\0'.repeat(0x38)}ARMd`), /an AArch64 kernel/)
  await refusesFile(Buffer.from('MZ'), /an EFI program/)
})

test('bzImages that are cut off, too old or damaged are refused', async t => {
  const refusesImage = (kernel: Uint8Array, says: RegExp) => refuses(t, { kernel }, 'ERR_KERNEL_FORMAT', says)
  await refusesImage(buildBzImage().slice(0, 0x300), /cut off: the setup header/)
  await refusesImage(buildBzImage().slice(0, -16), /cut off: 24576 bytes would be whole, there are 24560/)
  await refusesImage(buildBzImage({ fields: { setupSectors: 200 } }), /cut off/)
  await refusesImage(buildBzImage({ fields: { protocol: 0x209 } }), /boot protocol 2\.9 is older than 2\.10/)
  await refusesImage(buildBzImage({ fields: { bootFlag: 0 } }), /without boot flag/)
  await refusesImage(buildBzImage({ fields: { loadFlags: 0 } }), /a zImage/)
  const nowhere = /it wants to be aligned or placed where no memory is/
  await refusesImage(buildBzImage({ fields: { preferredAddress: 0xffff_ffff_ffff_0000n } }), nowhere)
  for (const alignmentBytes of [0, 0x30_0000]) await refusesImage(buildBzImage({ fields: { alignmentBytes } }), nowhere)
})

test('an initramfs that does not fit is refused', async t => {
  const says =
    /^--initramfs .*: 15728640 bytes; beside the kernel there is room for 15724544; is --memory large enough\?/
  const initramfs = new Uint8Array(15 * mebibyte)
  await refuses(t, { kernel: buildBzImage({ fields: { initBytes: 0x10_1000 } }), initramfs }, 'ERR_INITRAMFS', says)
  await t.notThrowsAsync(load({ kernel: buildBzImage({ fields: { initBytes: 0x10_0000 } }), initramfs }))
})

test('a command line longer than the kernel takes is refused', async t => {
  const with2047 = { kernel: buildBzImage(), commandLine: 'x'.repeat(2047) }
  t.is(commandLineOf((await load(with2047)).memory).length, 2047)
  const says = /^--cmdline: 2048 bytes are too long; this kernel takes at most 2047/
  await refuses(t, { ...with2047, commandLine: 'x'.repeat(2048) }, 'ERR_CMDLINE', says)
  const elf = buildElf(aKernel)
  t.is(commandLineOf((await load({ kernel: elf, commandLine: 'x'.repeat(65535) })).memory).length, 65535)
  await refuses(t, { kernel: elf, commandLine: 'x'.repeat(65536) }, 'ERR_CMDLINE', /at most 65535/)
  await refuses(t, { kernel: elf, commandLine: 'a\0b' }, 'ERR_CMDLINE', /zero byte/)
})

test('memory is untouched where anything is refused', async t => {
  using files = new ScratchFiles()
  const memory = new SoftwareMemory({ guestAddress: 0, sizeBytes: ramBytes })
  const machine = { memory, ram: ramRanges(ramBytes), rsdpAddress: addressMap.rsdp }
  const kernel = files.write('kernel', buildElf(aKernel))
  const source = { kernel, initramfs: undefined, commandLine: 'x'.repeat(70_000) }
  await t.throwsAsync(loadKernel(machine, source), { code: 'ERR_CMDLINE' })
  const large = files.write('initramfs', new Uint8Array(ramBytes))
  const initramfs = { ...source, commandLine: '', initramfs: large }
  await t.throwsAsync(loadKernel(machine, initramfs), { code: 'ERR_INITRAMFS' })
  t.true(memory.read(0, ramBytes).every(byte => byte === 0))
})
