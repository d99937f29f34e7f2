import { join } from 'node:path'
import { execa } from 'execa'
import type { Guest } from './subjects.ts'

/** The guests' kernels and disks: the lab says where they are, elsewhere the cache makes them. */
export async function guestFixtures(): Promise<string> {
  const given = process.env['TSVMM_FIXTURES']
  if (given !== undefined) return given
  await makeGuestFixtures()
  return (await execa('scripts/fixtures', ['--path'])).stdout
}

/** Those that benchmarks boot; the lab makes no others than it needs itself. */
export async function makeGuestFixtures(): Promise<void> {
  await execa('scripts/fixtures', ['debian-kernel', 'bench-root'], { stdout: 'ignore', stderr: 'inherit' })
}

/** The guest of the published figures: Debian's cloud kernel with the small initramfs, 512 MiB, one vCPU. */
export function debianGuest(fixtures: string, commandLine: string): Guest {
  const kernel = (file: string) => join(fixtures, 'debian-kernel', file)
  return {
    vmlinux: kernel('vmlinux'),
    bzImage: kernel('vmlinuz'),
    initrd: kernel('initrd'),
    commandLine,
    memoryMib: 512,
    cpus: 1,
  }
}

/** The same with a root disk that holds fio and iperf3 and runs the script that is the second disk. */
export function measuringGuest(fixtures: string, script: string): Guest {
  return {
    ...debianGuest(fixtures, 'quiet root=/dev/vda ro'),
    disks: [
      { path: join(fixtures, 'bench-root', 'root.img'), readOnly: true },
      { path: script, readOnly: true },
    ],
  }
}
