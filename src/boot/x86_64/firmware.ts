import type { BootFile } from '../boot-file.ts'
import { isElf } from '../elf.ts'
import { describeFirmware } from '../file-kind.ts'
import type { KernelPlan } from './kernel-plan.ts'
import { planPvh } from './pvh.ts'

/**
 * Firmware that begins as a PVH kernel does: edk2's CLOUDHV.fd, rust-hypervisor-firmware. It finds memory map and ACPI tables
 * through the start information and what it boots on the disks. Throws ERR_KERNEL_FORMAT, ERR_KERNEL_NO_PVH_NOTE.
 */
export function planFirmware(firmware: BootFile): KernelPlan {
  const header = firmware.read(0, 0x400)
  if (isElf(header)) return planPvh(firmware)
  throw firmware.error('ERR_KERNEL_FORMAT', describeFirmware(header))
}
