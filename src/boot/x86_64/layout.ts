import { consecutive, Layout } from '../../util/bytes.ts'

/** struct hvm_start_info, version 1 (Xen public headers, arch-x86/hvm/start_info.h). */
export const startInfo = new Layout(56, {
  ...consecutive(['magic', 'version', 'flags', 'moduleCount'], 4),
  ...consecutive(['modules', 'commandLine', 'rsdp', 'memoryMap'], 8, 16),
  memoryMapEntries: { offset: 48, width: 4 },
})
export const startInfoMagic = 0x336ec578

/** struct hvm_modlist_entry. */
export const startModule = new Layout(32, consecutive(['address', 'sizeBytes', 'commandLine', 'reserved'], 8))

/** struct hvm_memmap_table_entry. */
export const startMemory = new Layout(24, {
  ...consecutive(['address', 'sizeBytes'], 8),
  type: { offset: 16, width: 4 },
})

/** struct boot_params, what of it a boot loader reads or writes (Linux Documentation/arch/x86/{zero-page,boot}.rst). */
export const bootParams = new Layout(4096, {
  rsdp: { offset: 0x70, width: 8 },
  e820Entries: { offset: 0x1e8, width: 1 },
  setupSectors: { offset: 0x1f1, width: 1 },
  /** Of everything behind the setup sectors, in units of 16 bytes. */
  kernelParagraphs: { offset: 0x1f4, width: 4 },
  bootFlag: { offset: 0x1fe, width: 2 },
  /** How far the setup header reaches behind 0x202. */
  headerEnd: { offset: 0x201, width: 1 },
  magic: { offset: 0x202, width: 4 },
  protocol: { offset: 0x206, width: 2 },
  loaderType: { offset: 0x210, width: 1 },
  loadFlags: { offset: 0x211, width: 1 },
  initramfs: { offset: 0x218, width: 4 },
  initramfsBytes: { offset: 0x21c, width: 4 },
  commandLine: { offset: 0x228, width: 4 },
  initramfsMaximum: { offset: 0x22c, width: 4 },
  /** What a relocatable kernel moves itself up to. */
  alignmentBytes: { offset: 0x230, width: 4 },
  isRelocatable: { offset: 0x234, width: 1 },
  commandLineBytes: { offset: 0x238, width: 4 },
  preferredAddress: { offset: 0x258, width: 8 },
  initBytes: { offset: 0x260, width: 4 },
})
export const setupHeaderOffset = 0x1f1
/** Where the boot parameters have something else again. */
export const setupHeaderLimit = 0x290
export const e820TableOffset = 0x2d0

/** struct boot_e820_entry. */
export const e820Entry = new Layout(20, {
  ...consecutive(['address', 'sizeBytes'], 8),
  type: { offset: 16, width: 4 },
})
