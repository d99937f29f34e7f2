import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** What every subject runs: the same kernel, initramfs, command line, disks and cards. */
export interface Guest {
  readonly vmlinux: string
  readonly bzImage: string
  readonly initrd: string
  /** Without the console argument, which differs by nothing but is added by each subject. */
  readonly commandLine: string
  readonly memoryMib: number
  readonly cpus: number
  /** Another process may have the same memory. */
  readonly sharesMemory?: boolean
  readonly disks?: readonly GuestDisk[]
  readonly tap?: string
}

/** An image, read through the host's page cache; raw where it does not say. The first is /dev/vda in the guest. */
export interface GuestDisk {
  readonly path: string
  readonly readOnly: boolean
  readonly format?: 'raw' | 'qcow2' | 'vhdx'
}

/** A VMM that can run the guest with its serial console on standard output. */
export interface Subject {
  readonly name: string
  /** The words that start it, without any argument. */
  readonly program: readonly string[]
  /** The program and arguments; `directory` is for files that the subject needs. */
  command(guest: Guest, directory: string): readonly string[]
}

const mac = '12:34:56:78:90:ab'

function cloudHypervisorFlags(guest: Guest): string[] {
  return [
    ...['--kernel', guest.vmlinux, '--initramfs', guest.initrd],
    ...['--cmdline', `console=ttyS0 ${guest.commandLine}`],
    ...['--cpus', `boot=${guest.cpus}`, '--memory', memory(guest)],
    ...['--serial', 'tty', '--console', 'off'],
    ...(guest.disks === undefined ? [] : ['--disk', ...guest.disks.map(cloudHypervisorDisk)]),
    ...(guest.tap === undefined ? [] : ['--net', `tap=${guest.tap},mac=${mac}`]),
  ]
}

function memory({ memoryMib, sharesMemory = false }: Guest): string {
  return `size=${memoryMib}M${sharesMemory ? ',shared=on' : ''}`
}

function cloudHypervisorDisk({ path, readOnly, format = 'raw' }: GuestDisk): string {
  return `path=${path},direct=off,image_type=${format},readonly=${readOnly ? 'on' : 'off'}`
}

const qemuProgram = 'qemu-system-x86_64'

function qemu(machine: string, busDevice: string, guest: Guest): string[] {
  return [
    ...[qemuProgram, '-accel', 'kvm', '-cpu', 'host', '-M', machine],
    ...['-m', `${guest.memoryMib}M`, '-smp', `${guest.cpus}`],
    ...['-nodefaults', '-no-user-config', '-nographic', '-no-reboot', '-serial', 'stdio'],
    ...['-kernel', guest.bzImage, '-initrd', guest.initrd, '-append', `console=ttyS0 ${guest.commandLine}`],
    ...(guest.disks ?? []).flatMap((disk, index) => qemuDisk(disk, `disk${index}`, busDevice)),
    ...(guest.tap === undefined ? [] : qemuCard(guest.tap, busDevice)),
  ]
}

function qemuDisk({ path, readOnly, format = 'raw' }: GuestDisk, id: string, busDevice: string): string[] {
  const access = `readonly=${readOnly ? 'on' : 'off'}`
  return [
    ...['-object', `iothread,id=${id}-thread`],
    ...['-drive', `id=${id},file=${path},format=${format},if=none,aio=io_uring,${access}`],
    ...['-device', `virtio-blk-${busDevice},drive=${id},iothread=${id}-thread`],
  ]
}

function qemuCard(tap: string, busDevice: string): string[] {
  return [
    ...['-netdev', `tap,id=net,ifname=${tap},script=no,downscript=no,vhost=off`],
    ...['-device', `virtio-net-${busDevice},netdev=net,mac=${mac}`],
  ]
}

const tsvmmProgram = [new URL('../../dist/tsvmm', import.meta.url).pathname]

export const tsvmm: Subject = {
  name: 'tsvmm',
  program: tsvmmProgram,
  command: guest => [...tsvmmProgram, ...cloudHypervisorFlags(guest)],
}

const qemuMicrovm: Subject = {
  name: 'qemu-microvm',
  program: [qemuProgram],
  command: guest => qemu('microvm', 'device', guest),
}

const qemuQ35: Subject = {
  name: 'qemu-q35',
  program: [qemuProgram],
  command: guest => qemu('q35', 'pci', guest),
}

function cloudHypervisor(program: string): Subject {
  return { name: 'cloud-hypervisor', program: [program], command: guest => [program, ...cloudHypervisorFlags(guest)] }
}

function firecracker(program: string): Subject {
  return {
    name: 'firecracker',
    program: [program],
    command(guest, directory) {
      const config = join(directory, 'firecracker.json')
      writeFileSync(config, JSON.stringify(firecrackerConfig(guest)))
      return [program, '--no-api', '--config-file', config]
    },
  }
}

function firecrackerConfig(guest: Guest): object {
  return {
    'boot-source': {
      kernel_image_path: guest.vmlinux,
      initrd_path: guest.initrd,
      boot_args: `console=ttyS0 reboot=k ${guest.commandLine}`,
    },
    'machine-config': { vcpu_count: guest.cpus, mem_size_mib: guest.memoryMib },
    drives: (guest.disks ?? []).map(({ path, readOnly }, index) => ({
      drive_id: `disk${index}`,
      path_on_host: path,
      is_root_device: false,
      is_read_only: readOnly,
      io_engine: 'Async',
    })),
    'network-interfaces':
      guest.tap === undefined ? [] : [{ iface_id: 'net', host_dev_name: guest.tap, guest_mac: mac }],
  }
}

/** tsvmm, Debian's QEMU as microvm and q35, and each other VMM whose binary the environment names. */
export function subjects(environment: NodeJS.ProcessEnv): Subject[] {
  const cloudHypervisorProgram = environment['CLOUD_HYPERVISOR']
  const firecrackerProgram = environment['FIRECRACKER']
  return [
    tsvmm,
    qemuMicrovm,
    qemuQ35,
    ...(cloudHypervisorProgram ? [cloudHypervisor(cloudHypervisorProgram)] : []),
    ...(firecrackerProgram ? [firecracker(firecrackerProgram)] : []),
  ]
}
