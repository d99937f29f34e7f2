import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { bootFilesOf, rootOf } from '../../scripts/lib/images/boot-files.ts'
import type { Group } from '../../scripts/matrix/plan.ts'
import { customKernel, edk2Firmware, fedoraSeedDisk, seedDisk } from '../harness/artifacts.ts'
import type { GuestProcess } from '../harness/guest-process.ts'
import { QemuProcess } from '../harness/qemu-process.ts'
import { TsvmmProcess } from '../harness/tsvmm-process.ts'
import type { Workspace } from '../harness/workspace.ts'
import { seeded } from './cloud-guest.ts'

/** Starts machines of one group. What they write goes to an image on top of the group's, which stays as it is. */
export class CloudMachine {
  readonly #group: Group
  readonly #workspace: Workspace
  readonly #tap: string
  readonly socket: string

  constructor(group: Group, workspace: Workspace, tap: string) {
    this.#group = group
    this.#workspace = workspace
    this.#tap = tap
    this.socket = workspace.path('api.sock')
  }

  /** From the image as it was made. */
  start(): GuestProcess {
    const { image, way, vcpus } = this.#group
    const disk = this.#workspace.path('root.qcow2')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', image.path, '-F', 'raw', disk])
    const seed = image.distro === 'fedora' ? fedoraSeedDisk() : seedDisk()
    if (way === 'qemu') {
      const overlay = { path: disk, format: 'qcow2', isReadOnly: false } as const
      const disks = [overlay, { path: seed, format: 'raw', isReadOnly: true } as const]
      return new QemuProcess({ disks, tap: this.#tap, mac: seeded.mac, vcpus })
    }
    return new TsvmmProcess([
      ...['--api-socket', this.socket, ...this.#payload()],
      ...['--disk', `path=${disk},image_type=qcow2,backing_files=on`, `path=${seed},readonly=on`],
      ...['--net', `tap=${this.#tap},mac=${seeded.mac}`, '--cpus', `boot=${vcpus}`, '--memory', 'size=1G'],
      ...['--serial', 'tty', '--console', 'off'],
    ])
  }

  /** From a snapshot with its disk, each time with copies of that. */
  restore(snapshot: string, keys = ''): TsvmmProcess {
    const disks = `disks=copy,disk_directory=${this.#workspace.path(crypto.randomUUID())}`
    const source = `source_url=${snapshot},resume=on,${disks}${keys}`
    return new TsvmmProcess(['--api-socket', this.socket, '--restore', source])
  }

  #payload(): readonly string[] {
    const { image, way, rustFirmware } = this.#group
    if (way === 'firmware') return ['--firmware', edk2Firmware()]
    if (rustFirmware !== undefined) {
      // In a lab it comes as a disk.
      const file = this.#workspace.path('rust-firmware')
      writeFileSync(file, readFileSync(rustFirmware))
      return ['--firmware', file]
    }
    const commandLine = `console=ttyS0 ${rootOf(image.path)} quiet`
    if (way === 'custom') return customKernel.flags(commandLine)
    const { kernel, initramfs } = bootFilesOf(image.path, this.#workspace.directory)
    return ['--kernel', kernel, '--initramfs', initramfs, '--cmdline', commandLine]
  }
}
