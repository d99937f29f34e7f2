import { type EntryRegisters, emptyIdt, flatGdt } from '../../hypervisor/x86_64/entry-state.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { addressMap, memoryMap, memoryTypes, type RamRange } from '../../platform/x86_64/address-map.ts'
import { writeUint } from '../../util/bytes.ts'
import { BootFile } from '../boot-file.ts'
import { encodeCommandLine } from '../command-line.ts'
import { isElf } from '../elf.ts'
import { describeFile } from '../file-kind.ts'
import { placeInitramfs } from '../initramfs.ts'
import { describeRange, findMisplaced, loadSegments, type MemoryRange, memoryOf } from '../placement.ts'
import { isBzImage, planBzImage } from './bzimage.ts'
import { planFirmware } from './firmware.ts'
import type { KernelPlan } from './kernel-plan.ts'
import { planPvh } from './pvh.ts'

/** The machine that a kernel is loaded into. */
export interface BootMachine {
  readonly memory: GuestMemory
  /** RAM that the guest is told of. */
  readonly ram: readonly RamRange[]
  /** Where the ACPI tables begin; they are placed by others. */
  readonly rsdpAddress: number
}

export interface BootSource {
  /** Path of what is entered, and which of both it is. */
  readonly kernel: string
  readonly isFirmware?: boolean
  readonly initramfs: string | undefined
  readonly commandLine: string
}

/** Memory of the boot loader's tables. */
const lowTables: MemoryRange = { guestAddress: 0, sizeBytes: addressMap.lowTablesEnd }
const commandLineArea: MemoryRange = {
  guestAddress: addressMap.commandLine,
  sizeBytes: addressMap.commandLineMaximumBytes,
}

/**
 * Loads kernel or firmware, initramfs, command line and tables into fresh guest memory, anew at every reboot. All is checked before
 * anything is written. With the registers that come back the first vCPU begins, in flat 32-bit mode; the others wait for its
 * start-up message. There is no MP table: whoever boots here has ACPI, which tells the same and more.
 * Rejects with ERR_KERNEL_*, ERR_INITRAMFS, ERR_CMDLINE.
 */
export async function loadKernel(machine: BootMachine, source: BootSource): Promise<EntryRegisters> {
  const { memory } = machine
  const isFirmware = source.isFirmware ?? false
  using kernel = BootFile.open(source.kernel, 'ERR_KERNEL_OPEN', isFirmware ? '--firmware' : '--kernel')
  using initramfs =
    source.initramfs === undefined ? undefined : BootFile.open(source.initramfs, 'ERR_INITRAMFS', '--initramfs')
  const plan = isFirmware ? planFirmware(kernel) : planKernel(kernel)
  const map = memoryMap(machine.ram)
  const usable = map
    .filter(entry => entry.type === memoryTypes.ram)
    .map(({ address, sizeBytes }) => ({ guestAddress: address, sizeBytes }))
  checkRoom(kernel, plan, usable)
  const high = usable.filter(range => range.guestAddress >= addressMap.highRam)
  const place = initramfs && placeInitramfs(initramfs, plan.initramfsLimit, high, plan.reserved)
  const commandLine = encodeCommandLine(source.commandLine, plan.commandLineMaximumBytes)

  // All at once: whoever builds the machine meanwhile leaves this no turn for one after the other.
  const loads = [...loadSegments(memory, kernel, plan.segments)]
  if (place !== undefined && initramfs !== undefined) {
    loads.push(initramfs.load(memory, place.guestAddress, 0, place.sizeBytes))
  }
  memory.write(addressMap.commandLine, commandLine)
  memory.write(addressMap.gdt, flatGdt())
  memory.write(addressMap.idt, emptyIdt())
  memory.write(addressMap.ebdaPointer, segmentWord(machine.rsdpAddress))
  // The files stay open until all of it was read.
  await Promise.allSettled(loads)
  await Promise.all(loads)
  return plan.handOff(memory, {
    commandLineAddress: addressMap.commandLine,
    rsdpAddress: machine.rsdpAddress,
    initramfs: place,
    memoryMap: map,
  })
}

function planKernel(kernel: BootFile): KernelPlan {
  const header = kernel.read(0, 0x400)
  if (isElf(header)) return planPvh(kernel)
  if (isBzImage(header)) return planBzImage(kernel)
  throw kernel.error('ERR_KERNEL_FORMAT', describeFile(header, 'an ELF with a PVH note or a bzImage'))
}

function checkRoom(kernel: BootFile, plan: KernelPlan, usable: readonly MemoryRange[]): void {
  const wanted = [...plan.segments.map(memoryOf), ...plan.reserved]
  const misplaced = findMisplaced(wanted, usable, [lowTables, commandLineArea])
  if (misplaced === undefined) return
  const reason = `it needs memory from ${describeRange(misplaced)}, which is not free RAM; is --memory large enough?`
  throw kernel.error('ERR_KERNEL_TOO_LARGE', reason)
}

/** An address as a real-mode segment. */
function segmentWord(address: number): Uint8Array<ArrayBuffer> {
  const word = new Uint8Array(2)
  writeUint(word, 0, 2, address >> 4)
  return word
}
