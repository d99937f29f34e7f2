import { addressMap, type MemoryMapEntry } from '../../platform/x86_64/address-map.ts'
import { TsvmmError } from '../../util/errors.ts'
import type { LoadSegment } from '../elf.ts'
import type { BootFile } from '../kernel-file.ts'
import { bootParams, e820Entry, e820TableOffset, setupHeaderOffset } from './layout.ts'

const sectorBytes = 512
const bootFlag = 0xaa55
/** "HdrS" */
const headerMagic = 0x53726448
/** The first protocol that says how much memory decompression needs (boot.rst, init_size). */
const oldestProtocol = 0x20a
const undefinedLoader = 0xff
const loadedHigh = 0x01

export interface BzImage {
  readonly segment: LoadSegment
  /** Memory that the kernel uses before it knows of anything else: nothing may be placed there. */
  readonly reservedEnd: number
  readonly initramfsMaximum: number
  readonly commandLineMaximumBytes: number
  /** The setup header as it stands in the file. */
  readonly setupHeader: Uint8Array
}

export function isBzImage(file: BootFile): boolean {
  const header = file.read(0, bootParams.sizeBytes)
  return header.length > 0x206 && bootParams.readNumber(header, 'magic') === headerMagic
}

/** Reads and checks the setup header (boot.rst, "The Real-Mode Kernel Header"). Throws ERR_KERNEL_FORMAT. */
export function readBzImage(file: BootFile): BzImage {
  const fail = (reason: string): never => {
    throw new TsvmmError('ERR_KERNEL_FORMAT', { path: file.path, reason })
  }
  const header = file.read(0, bootParams.sizeBytes)
  if (header.length < bootParams.sizeBytes) fail('the setup header is cut off')
  const field = (name: string) => bootParams.readNumber(header, name)
  if (field('bootFlag') !== bootFlag) fail('the boot flag is missing')
  if (field('protocol') < oldestProtocol) fail(`boot protocol 0x${field('protocol').toString(16)} is too old`)
  if ((field('loadFlags') & loadedHigh) === 0) fail('not a bzImage: it wants to be loaded below 1 MiB')
  // Zero means four, as the first kernels had it.
  const kernelOffset = ((field('setupSectors') || 4) + 1) * sectorBytes
  if (kernelOffset >= file.sizeBytes) fail('the kernel is cut off')
  const fileBytes = file.sizeBytes - kernelOffset
  const guestAddress = addressMap.highRam
  const initBytes = Math.max(field('initBytes'), fileBytes)
  const decompressedAt = field('isRelocatable') === 1 ? Math.max(field('preferredAddress'), guestAddress) : guestAddress
  return {
    segment: { fileOffset: kernelOffset, fileBytes, guestAddress, memoryBytes: fileBytes },
    reservedEnd: Math.max(guestAddress + fileBytes, decompressedAt + initBytes),
    initramfsMaximum: field('initramfsMaximum'),
    commandLineMaximumBytes: field('commandLineBytes') || 255,
    setupHeader: header.slice(setupHeaderOffset, 0x202 + (header[0x201] ?? 0)),
  }
}

export interface BootParameters {
  readonly commandLineAddress: number
  readonly rsdpAddress: number
  readonly initramfs: { readonly address: number; readonly sizeBytes: number } | undefined
  readonly memoryMap: readonly MemoryMapEntry[]
}

/** The "zero page" that the kernel finds through RSI. */
export function encodeBootParams(image: BzImage, boot: BootParameters): Uint8Array<ArrayBuffer> {
  const page = new Uint8Array(bootParams.sizeBytes)
  page.set(image.setupHeader, setupHeaderOffset)
  bootParams.write(page, {
    loaderType: undefinedLoader,
    commandLine: boot.commandLineAddress,
    rsdp: boot.rsdpAddress,
    initramfs: boot.initramfs?.address ?? 0,
    initramfsBytes: boot.initramfs?.sizeBytes ?? 0,
    e820Entries: boot.memoryMap.length,
  })
  boot.memoryMap.forEach(({ address, sizeBytes, type }, index) => {
    e820Entry.write(page, { address, sizeBytes, type }, e820TableOffset + index * e820Entry.sizeBytes)
  })
  return page
}
