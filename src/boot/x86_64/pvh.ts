import type { EntryRegisters } from '../../hypervisor/x86_64/entry-state.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { addressMap } from '../../platform/x86_64/address-map.ts'
import { concatenate, readNumber } from '../../util/bytes.ts'
import type { BootFile } from '../boot-file.ts'
import { readElf } from '../elf.ts'
import { memoryOf } from '../placement.ts'
import type { Handoff, KernelPlan } from './kernel-plan.ts'
import { startInfo, startInfoMagic, startMemory, startModule } from './layout.ts'

/** Machines of an ELF header; the entry is 32-bit code in either. */
const machines = { i386: 3, x86_64: 62 } as const
/** XEN_ELFNOTE_PHYS32_ENTRY: where PVH enters (Xen docs/misc/pvh.pandoc). */
const entryNote = 18
const fourGibibytes = 2 ** 32

/** An ELF that says where PVH enters: a Linux vmlinux, or firmware. Throws ERR_KERNEL_FORMAT, ERR_KERNEL_NO_PVH_NOTE. */
export function planPvh(kernel: BootFile): KernelPlan {
  const { segments, note } = readElf(kernel, Object.values(machines))
  const contents = note('Xen', entryNote)
  if (contents === undefined || (contents.length !== 4 && contents.length !== 8)) {
    const wayOut =
      kernel.option === '--kernel' ? 'build it with CONFIG_PVH=y or use its bzImage' : 'is it made for another VMM?'
    throw kernel.error('ERR_KERNEL_NO_PVH_NOTE', wayOut)
  }
  const rip = readNumber(contents, 0, contents.length)
  const isLoaded = segments.some(({ guestAddress, fileBytes }) => rip >= guestAddress && rip < guestAddress + fileBytes)
  if (!isLoaded || rip >= fourGibibytes) {
    throw kernel.error('ERR_KERNEL_FORMAT', `its PVH entry 0x${rip.toString(16)} is not in a segment of 32-bit code`)
  }
  return {
    segments,
    reserved: segments.map(memoryOf),
    initramfsLimit: fourGibibytes,
    commandLineMaximumBytes: addressMap.commandLineMaximumBytes - 1,
    handOff: (memory, handoff) => writeStartInfo(memory, handoff, rip),
  }
}

function writeStartInfo(memory: GuestMemory, handoff: Handoff, rip: number): EntryRegisters {
  const { initramfs, memoryMap, commandLineAddress, rsdpAddress } = handoff
  if (initramfs !== undefined) {
    const { guestAddress, sizeBytes } = initramfs
    memory.write(addressMap.pvhModules, startModule.encode({ address: guestAddress, sizeBytes }))
  }
  memory.write(
    addressMap.memoryMap,
    concatenate(memoryMap.map(({ address, sizeBytes, type }) => startMemory.encode({ address, sizeBytes, type }))),
  )
  const info = startInfo.encode({
    magic: startInfoMagic,
    version: 1,
    moduleCount: initramfs === undefined ? 0 : 1,
    modules: initramfs === undefined ? 0 : addressMap.pvhModules,
    commandLine: commandLineAddress,
    rsdp: rsdpAddress,
    memoryMap: addressMap.memoryMap,
    memoryMapEntries: memoryMap.length,
  })
  memory.write(addressMap.pvhStartInfo, info)
  return { rip, rbx: addressMap.pvhStartInfo, rsi: 0, rsp: 0 }
}
