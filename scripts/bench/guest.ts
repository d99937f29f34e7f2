import { join } from 'node:path'
import type { Guest } from './subjects.ts'

/** The guest of the published figures: Debian's cloud kernel with the small initramfs, 512 MiB, one vCPU. */
export function debianGuest(commandLine: string): Guest {
  const folder = process.env['TSVMM_FIXTURES']
  if (folder === undefined) throw new Error('TSVMM_FIXTURES must name the folder of the guest fixtures')
  const kernel = (file: string) => join(folder, 'debian-kernel', file)
  return {
    vmlinux: kernel('vmlinux'),
    bzImage: kernel('vmlinuz'),
    initrd: kernel('initrd'),
    commandLine,
    memoryMib: 512,
    cpus: 1,
  }
}
