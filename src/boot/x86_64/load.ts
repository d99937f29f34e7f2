import type { GuestMemory } from '../../memory/guest-memory.ts'
import { addressMap, memoryMap, type RamRange, ramRanges } from '../../platform/x86_64/address-map.ts'
import { alignDown, concatenate, readUint } from '../../util/bytes.ts'
import { TsvmmError } from '../../util/errors.ts'
import { isElf, type LoadSegment, readElf } from '../elf.ts'
import { BootFile } from '../kernel-file.ts'
import { encodeBootParams, isBzImage, readBzImage } from './bzimage.ts'
import { startInfo, startInfoMagic, startMemory, startModule } from './layout.ts'

const machineX86_64 = 62
/** XEN_ELFNOTE_PHYS32_ENTRY: where PVH enters (Xen docs/misc/pvh.pandoc). */
const pvhEntryNote = 18
const pageBytes = 4096
const bzImageEntryOffset = 0

export interface BootSource {
  readonly kernel: string
  readonly initramfs: string | undefined
  readonly commandLine: string
}

/** How the first vCPU starts: 32-bit protected mode, flat segments, no paging. */
export interface EntryPoint {
  readonly rip: number
  /** PVH: the start information. */
  readonly rbx: number
  /** Linux boot protocol: the boot parameters. */
  readonly rsi: number
}

interface Initramfs {
  readonly address: number
  readonly sizeBytes: number
}

/** Loads kernel, initramfs and command line into fresh guest memory; the ACPI tables are placed by others. */
export function loadKernel(memory: GuestMemory, ramBytes: number, source: BootSource): EntryPoint {
  using kernel = BootFile.open(source.kernel, 'ERR_KERNEL_OPEN')
  if (isElf(kernel)) return loadPvh(memory, ramBytes, kernel, source)
  if (isBzImage(kernel)) return loadBzImage(memory, ramBytes, kernel, source)
  throw new TsvmmError('ERR_KERNEL_FORMAT', { path: source.kernel, reason: 'neither an ELF nor a bzImage' })
}

function loadPvh(memory: GuestMemory, ramBytes: number, kernel: BootFile, source: BootSource): EntryPoint {
  const image = readElf(kernel, machineX86_64)
  const note = image.note('Xen', pvhEntryNote)
  if (note === undefined || (note.length !== 4 && note.length !== 8)) {
    throw new TsvmmError('ERR_KERNEL_NO_PVH_NOTE', { path: kernel.path })
  }
  const rip = Number(readUint(note, 0, note.length))
  for (const segment of image.segments) loadSegment(memory, ramBytes, kernel, segment)
  const kernelEnd = Math.max(...image.segments.map(segment => segment.guestAddress + segment.memoryBytes))
  const initramfs = loadInitramfs(memory, ramBytes, source.initramfs, kernelEnd)
  writeCommandLine(memory, source.commandLine, addressMap.commandLineMaximumBytes)
  writeStartInfo(memory, ramBytes, initramfs)
  return { rip, rbx: addressMap.pvhStartInfo, rsi: 0 }
}

function loadBzImage(memory: GuestMemory, ramBytes: number, kernel: BootFile, source: BootSource): EntryPoint {
  const image = readBzImage(kernel)
  loadSegment(memory, ramBytes, kernel, image.segment)
  const initramfs = loadInitramfs(memory, ramBytes, source.initramfs, image.reservedEnd, image.initramfsMaximum)
  writeCommandLine(memory, source.commandLine, image.commandLineMaximumBytes)
  const params = encodeBootParams(image, {
    commandLineAddress: addressMap.commandLine,
    rsdpAddress: addressMap.rsdp,
    initramfs,
    memoryMap: memoryMap(ramBytes),
  })
  memory.write(addressMap.memoryMap, params)
  return { rip: image.segment.guestAddress + bzImageEntryOffset, rbx: 0, rsi: addressMap.memoryMap }
}

/** Kernels go above the tables that the loader and the firmware interface place below 1 MiB. */
function loadSegment(memory: GuestMemory, ramBytes: number, kernel: BootFile, segment: LoadSegment): void {
  const end = segment.guestAddress + segment.memoryBytes
  const isBacked = ramRanges(ramBytes).some(range => contains(range, segment.guestAddress, end))
  if (!isBacked || segment.guestAddress < addressMap.highRam) {
    const place = `0x${segment.guestAddress.toString(16)} to 0x${end.toString(16)}`
    const reason = `it wants ${place}, which is not free RAM; is --memory large enough?`
    throw new TsvmmError('ERR_KERNEL_TOO_LARGE', { path: kernel.path, reason })
  }
  if (segment.fileBytes > 0) {
    memory.loadFile(segment.guestAddress, kernel.fd, segment.fileOffset, segment.fileBytes)
  }
}

function contains(range: RamRange, start: number, end: number): boolean {
  return start >= range.guestAddress && end <= range.guestAddress + range.sizeBytes
}

/** As high below 4 GiB as RAM and the kernel allow, so that it is out of the way of everything that grows upwards. */
function loadInitramfs(
  memory: GuestMemory,
  ramBytes: number,
  path: string | undefined,
  kernelEnd: number,
  maximumAddress = 0xffff_ffff,
): Initramfs | undefined {
  if (path === undefined) return undefined
  using file = BootFile.open(path, 'ERR_INITRAMFS')
  const lowRamEnd = ramRanges(ramBytes)[0]?.sizeBytes ?? 0
  const address = alignDown(Math.min(lowRamEnd, maximumAddress + 1) - file.sizeBytes, pageBytes)
  if (address < kernelEnd) {
    const reason = `${file.sizeBytes} bytes do not fit into RAM beside the kernel; is --memory large enough?`
    throw new TsvmmError('ERR_INITRAMFS', { path, reason })
  }
  memory.loadFile(address, file.fd, 0, file.sizeBytes)
  return { address, sizeBytes: file.sizeBytes }
}

function writeCommandLine(memory: GuestMemory, commandLine: string, maximumBytes: number): void {
  const bytes = Buffer.from(`${commandLine}\0`, 'utf8')
  const limit = Math.min(maximumBytes + 1, addressMap.commandLineMaximumBytes)
  if (bytes.length > limit) {
    const reason = `${bytes.length - 1} bytes; this kernel takes at most ${limit - 1}`
    throw new TsvmmError('ERR_CMDLINE', { reason })
  }
  if (commandLine.includes('\0')) throw new TsvmmError('ERR_CMDLINE', { reason: 'it contains a zero byte' })
  memory.write(addressMap.commandLine, bytes)
}

function writeStartInfo(memory: GuestMemory, ramBytes: number, initramfs: Initramfs | undefined): void {
  const map = memoryMap(ramBytes)
  if (initramfs !== undefined) memory.write(addressMap.pvhModules, startModule.encode({ ...initramfs }))
  memory.write(
    addressMap.memoryMap,
    concatenate(map.map(({ address, sizeBytes, type }) => startMemory.encode({ address, sizeBytes, type }))),
  )
  const info = startInfo.encode({
    magic: startInfoMagic,
    version: 1,
    moduleCount: initramfs === undefined ? 0 : 1,
    modules: initramfs === undefined ? 0 : addressMap.pvhModules,
    commandLine: addressMap.commandLine,
    rsdp: addressMap.rsdp,
    memoryMap: addressMap.memoryMap,
    memoryMapEntries: map.length,
  })
  memory.write(addressMap.pvhStartInfo, info)
}
