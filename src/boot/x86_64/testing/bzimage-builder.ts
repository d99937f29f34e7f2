import { bootParams } from '../layout.ts'

export interface BzImageSketch {
  readonly fields?: Parameters<typeof bootParams.encode>[0]
  /** Behind the setup sectors. */
  readonly kernelBytes?: number
}

const sectorBytes = 512
const setupSectors = 15

/** A bzImage for tests, its setup header like that of a Linux of today. */
export function buildBzImage({ fields = {}, kernelBytes = 0x4000 }: BzImageSketch = {}): Uint8Array {
  const setupBytes = (setupSectors + 1) * sectorBytes
  const image = new Uint8Array(setupBytes + kernelBytes)
  image.fill(0x90, setupBytes)
  bootParams.write(image, {
    setupSectors,
    kernelParagraphs: kernelBytes / 16,
    bootFlag: 0xaa55,
    headerEnd: 0x6a,
    magic: 0x53726448,
    protocol: 0x20f,
    loadFlags: 1,
    initramfsMaximum: 0x7fff_ffff,
    alignmentBytes: 0x20_0000,
    isRelocatable: 1,
    commandLineBytes: 2047,
    preferredAddress: 0x100_0000,
    initBytes: 0x80_0000,
    ...fields,
  })
  return image
}
