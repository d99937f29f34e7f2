import { execFileSync } from 'node:child_process'
import { join } from 'node:path'

/** Where the guests are: the lab says it, elsewhere the fixture cache is asked. */
const folder =
  process.env['TSVMM_FIXTURES'] ??
  execFileSync(new URL('../../scripts/fixtures', import.meta.url).pathname, ['--path'], { encoding: 'utf8' }).trim()

function artifact(...path: string[]): string {
  return join(folder, ...path)
}

/** A kernel to boot, with the flags that it needs beside the command line. */
export interface GuestKernel {
  readonly name: string
  flags(commandLine: string): readonly string[]
}

function kernel(name: string, file: string, initrd?: string): GuestKernel {
  return {
    name,
    flags: commandLine => [
      ...['--kernel', file, '--cmdline', commandLine],
      ...(initrd === undefined ? [] : ['--initramfs', initrd]),
    ],
  }
}

const debianInitrd = artifact('debian-kernel', 'initrd')

export const debianKernel = kernel('Debian vmlinux', artifact('debian-kernel', 'vmlinux'), debianInitrd)
export const debianBzImage = kernel('Debian bzImage', artifact('debian-kernel', 'vmlinuz'), debianInitrd)
export const customKernel = kernel('custom vmlinux', artifact('custom-kernel', 'vmlinux'))
export const kernels: readonly GuestKernel[] = [debianKernel, debianBzImage, customKernel]

export function rootDisk(): string {
  return artifact('debian-root', 'root.img')
}

/** Of cloud-init; also a disk with known contents. */
export function seedDisk(): string {
  return artifact('seed', 'seed.img')
}

/** Of cloud-init, for images of Fedora's form. */
export function fedoraSeedDisk(): string {
  return artifact('seed', 'fedora.img')
}

/** The firmware test suite, with a prompt for programs; made for long runs only (scripts/fixtures fwts-root). */
export function fwtsDisk(): string {
  return artifact('fwts-root', 'root.img')
}

/** edk2 for this kind of machine (scripts/fixtures firmware). */
export function edk2Firmware(): string {
  return artifact('firmware', 'CLOUDHV.fd')
}

/** The least that firmware boots: GRUB, a kernel, and an initramfs with a prompt for programs (scripts/fixtures efi-disk). */
export function efiDisk(): string {
  return artifact('efi-disk', 'disk.img')
}
