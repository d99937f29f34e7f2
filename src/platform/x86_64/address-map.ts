/** Where everything lies in an x86-64 guest: Cloud Hypervisor's map, so that its guests and snapshots find theirs. */

import { alignDown } from '../../util/bytes.ts'
import { TsvmmError } from '../../util/errors.ts'

const mebibyte = 1024 * 1024
const gibibyte = 1024 * mebibyte

export const addressMap = {
  /** Word in the BIOS data area: the segment where the RSDP is looked for (ACPI 6.5 §5.2.5.1). */
  ebdaPointer: 0x40e,
  gdt: 0x500,
  idt: 0x520,
  pvhStartInfo: 0x6000,
  pvhModules: 0x6040,
  /** PVH memory map, or the Linux boot parameters ("zero page"). */
  memoryMap: 0x7000,
  /** Grows down; its page is the last one with tables of the boot loader. */
  bootStackPointer: 0x8ff0,
  lowTablesEnd: 0x9000,
  commandLine: 0x20000,
  commandLineMaximumBytes: 0x10000,
  /** End of conventional memory; the ACPI tables begin with the RSDP here. */
  rsdp: 0xa0000,
  /** Pages of their own, reserved in the memory map: the VM clock's structure, and the VM generation ID. */
  vmClock: 0xee000,
  vmGenerationId: 0xef000,
  smbios: 0xf0000,
  highRam: 0x10_0000,
  /** 32-bit addresses for devices, up to `mmio32End`. */
  mmio32Start: 0xc000_0000,
  mmio32End: 0xe800_0000,
  ecam: 0xe800_0000,
  ecamSegmentBytes: mebibyte,
  ecamBytes: 256 * mebibyte,
  kvmTss: 0xf800_0000,
  kvmIdentityMap: 0xf800_3000,
  ioapic: 0xfec0_0000,
  lapic: 0xfee0_0000,
  ramAbove4Gib: 4 * gibibyte,
  /** Registers of the platform's own devices: the last megabyte of the address space. */
  platformMmioBytes: mebibyte,
} as const

/** x86 I/O ports. */
export const portMap = {
  resetPort: 0x61,
  rtc: 0x70,
  debugPort: 0x80,
  serial: 0x3f8,
  acpiControl: 0x600,
  acpiPmTimer: 0x608,
  pciConfigAddress: 0xcf8,
  pciConfigData: 0xcfc,
} as const

/** Pins of the IOAPIC. */
export const pinMap = { serial: 4, ged: 5 } as const
export const ioapicPins = 24

export interface RamRange {
  readonly guestAddress: number
  readonly sizeBytes: number
}

/** RAM around the hole for devices below 4 GiB. */
export function ramRanges(sizeBytes: number): RamRange[] {
  const low = Math.min(sizeBytes, addressMap.mmio32Start)
  const ranges = [{ guestAddress: 0, sizeBytes: low }]
  if (sizeBytes > low) ranges.push({ guestAddress: addressMap.ramAbove4Gib, sizeBytes: sizeBytes - low })
  return ranges
}

export interface DeviceArea {
  readonly start: number
  /** One past the last byte. */
  readonly end: number
  readonly platform: PlatformRegisters
}

/** Where the platform's own devices have their registers, at the end of the address space. */
export interface PlatformRegisters {
  readonly first: number
  readonly last: number
  readonly pciHotplug: number
  readonly ged: number
}

/**
 * 64-bit addresses for devices: from the first GiB boundary behind RAM to the platform's registers. Throws ERR_MEMORY where
 * RAM leaves none of so many address bits.
 */
export function deviceArea(ramBytes: number, physicalBits: number): DeviceArea {
  const above = Math.max(0, ramBytes - addressMap.mmio32Start)
  const start = Math.ceil((addressMap.ramAbove4Gib + above) / gibibyte) * gibibyte
  // Numbers are exact to 2^53; no CPU of today has more address bits than 52.
  const end = 2 ** physicalBits - addressMap.platformMmioBytes
  if (start >= end) {
    const reason = `size: ${ramBytes} bytes leave no room for devices in ${physicalBits} address bits`
    throw new TsvmmError('ERR_MEMORY', { reason })
  }
  return { start, end, platform: platformRegisters(end) }
}

/**
 * Cloud Hypervisor hands them out from the end downwards: to memory hotplug 0x18 bytes, to PCI hotplug 0x10, to CPU hotplug
 * 0xc, to the event device one, each aligned to 4.
 */
function platformRegisters(first: number): PlatformRegisters {
  const end = first + addressMap.platformMmioBytes
  return { first, last: end - 1, pciHotplug: end - 0x28, ged: end - 0x38 }
}

const barAlignment = 8 * mebibyte

/**
 * Where the first BAR of the function in a PCI slot is at power-on: a place of its own for each slot, the same in whatever
 * order the slots are filled and in every machine that has this one's state. Without gaps it is Cloud Hypervisor's.
 */
export function barAddress({ end }: DeviceArea, slot: number): number {
  return alignDown(end, barAlignment) - (slot - 1) * barAlignment
}

/** The same below 4 GiB, for what firmware must reach: some of it maps no more than that. */
export function lowBarAddress(slot: number): number {
  return addressMap.mmio32End - slot * barAlignment
}

/** Types of an e820 or PVH memory map entry. */
export const memoryTypes = { ram: 1, reserved: 2 } as const

export interface MemoryMapEntry {
  readonly address: number
  readonly sizeBytes: number
  readonly type: number
}

/**
 * What a guest is told of its RAM. Firmware tables between conventional and high memory are in no entry; the pages there that
 * change while it runs are reserved.
 */
export function memoryMap(ram: readonly RamRange[]): MemoryMapEntry[] {
  const { ram: usable, reserved } = memoryTypes
  const entries: MemoryMapEntry[] = []
  for (const { guestAddress, sizeBytes } of ram) {
    const end = guestAddress + sizeBytes
    if (guestAddress < addressMap.rsdp) {
      entries.push({ address: guestAddress, sizeBytes: Math.min(end, addressMap.rsdp) - guestAddress, type: usable })
    }
    const high = Math.max(guestAddress, addressMap.highRam)
    if (end > high) entries.push({ address: high, sizeBytes: end - high, type: usable })
  }
  const ecam = { address: addressMap.ecam, sizeBytes: addressMap.ecamBytes, type: reserved }
  const identity = {
    address: addressMap.vmClock,
    sizeBytes: addressMap.smbios - addressMap.vmClock,
    type: reserved,
  }
  return [...entries, identity, ecam].toSorted((a, b) => a.address - b.address)
}
