import type { EntryRegisters } from '../../hypervisor/x86_64/entry-state.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { addressMap } from '../../platform/x86_64/address-map.ts'
import { alignUp } from '../../util/bytes.ts'
import type { BootFile } from '../boot-file.ts'
import type { Handoff, KernelPlan } from './kernel-plan.ts'
import { bootParams, e820Entry, e820TableOffset, setupHeaderLimit, setupHeaderOffset } from './layout.ts'

type HeaderField = Parameters<typeof bootParams.read>[1]

const sectorBytes = 512
const paragraphBytes = 16
const bootFlag = 0xaa55
/** "HdrS" */
const headerMagic = 0x53726448
/** The first protocol that says how much memory decompression needs (boot.rst, init_size); Linux 2.6.31 has it. */
const oldestProtocol = 0x20a
const undefinedLoader = 0xff
const loadedHigh = 0x01
/** What kernels take that do not say. */
const defaultCommandLineBytes = 255
const fourGibibytes = 2 ** 32

export function isBzImage(header: Uint8Array): boolean {
  return header.length >= 0x206 && bootParams.readNumber(header, 'magic') === headerMagic
}

/**
 * Reads and checks the setup header (boot.rst, "The Real-Mode Kernel Header"). The kernel is entered in 32-bit mode, which
 * every bzImage knows; its own code sets up paging quicker than page tables could be written from here.
 * Throws ERR_KERNEL_FORMAT.
 */
export function planBzImage(kernel: BootFile): KernelPlan {
  const fail = (reason: string) => kernel.error('ERR_KERNEL_FORMAT', reason)
  const header = kernel.readWhole(0, bootParams.sizeBytes)
  if (header === undefined) throw fail('cut off: the setup header is not whole')
  const field = (name: HeaderField) => bootParams.readNumber(header, name)
  if (field('bootFlag') !== bootFlag) throw fail('a bzImage without boot flag')
  if (field('protocol') < oldestProtocol) {
    const version = `${field('protocol') >> 8}.${field('protocol') & 0xff}`
    throw fail(`its boot protocol ${version} is older than 2.10`)
  }
  if ((field('loadFlags') & loadedHigh) === 0) throw fail('a zImage, which would be loaded below 1 MiB')
  // Zero means four, as the first kernels had it.
  const fileOffset = ((field('setupSectors') || 4) + 1) * sectorBytes
  const fileBytes = kernel.sizeBytes - fileOffset
  const kernelBytes = field('kernelParagraphs') * paragraphBytes
  // The count is rounded up, and the last paragraph of some images not filled.
  if (fileBytes <= 0 || fileBytes + paragraphBytes <= kernelBytes) {
    throw fail(`cut off: ${fileOffset + kernelBytes} bytes would be whole, there are ${kernel.sizeBytes}`)
  }
  const decompressedAt = decompressionAddress(field)
  if (decompressedAt === undefined) throw fail('it wants to be aligned or placed where no memory is')
  const guestAddress = addressMap.highRam
  const segment = { fileOffset, fileBytes, guestAddress, memoryBytes: fileBytes }
  const reservedEnd = Math.max(guestAddress + fileBytes, decompressedAt + field('initBytes'))
  const setupHeader = header.slice(setupHeaderOffset, Math.min(0x202 + field('headerEnd'), setupHeaderLimit))
  return {
    segments: [segment],
    reserved: [{ guestAddress, sizeBytes: reservedEnd - guestAddress }],
    initramfsLimit: field('initramfsMaximum') + 1,
    commandLineMaximumBytes: Math.min(
      field('commandLineBytes') || defaultCommandLineBytes,
      addressMap.commandLineMaximumBytes - 1,
    ),
    handOff: (memory, handoff) => writeBootParams(memory, handoff, setupHeader, guestAddress),
  }
}

/**
 * Where a kernel that is loaded at 1 MiB decompresses to: a relocatable one where it lies, aligned, but not below the address
 * that it prefers; any other moves itself to that address (boot.rst, pref_address). Undefined where that cannot be memory.
 */
function decompressionAddress(field: (name: HeaderField) => number): number | undefined {
  const preferred = Math.max(field('preferredAddress'), addressMap.highRam)
  const alignmentBytes = field('isRelocatable') === 1 ? field('alignmentBytes') : 1
  if (!Number.isInteger(Math.log2(alignmentBytes)) || preferred >= fourGibibytes) return undefined
  return Math.max(preferred, alignUp(addressMap.highRam, alignmentBytes))
}

/** The "zero page" that the kernel finds through RSI. */
function writeBootParams(memory: GuestMemory, handoff: Handoff, setupHeader: Uint8Array, rip: number): EntryRegisters {
  const page = new Uint8Array(bootParams.sizeBytes)
  page.set(setupHeader, setupHeaderOffset)
  bootParams.write(page, {
    loaderType: undefinedLoader,
    commandLine: handoff.commandLineAddress,
    rsdp: handoff.rsdpAddress,
    initramfs: handoff.initramfs?.guestAddress ?? 0,
    initramfsBytes: handoff.initramfs?.sizeBytes ?? 0,
    e820Entries: handoff.memoryMap.length,
  })
  handoff.memoryMap.forEach(({ address, sizeBytes, type }, index) => {
    e820Entry.write(page, { address, sizeBytes, type }, e820TableOffset + index * e820Entry.sizeBytes)
  })
  memory.write(addressMap.memoryMap, page)
  return { rip, rbx: 0, rsi: addressMap.memoryMap, rsp: addressMap.bootStackPointer }
}
