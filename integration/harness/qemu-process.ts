import { GuestProcess } from './guest-process.ts'

const program = 'qemu-system-x86_64'
/** edk2 for QEMU's kind of machine (Debian's package ovmf). */
const firmware = '/usr/share/ovmf/OVMF.fd'

export interface QemuMachine {
  /** Raw images and overlays, the first of them to boot from. */
  readonly disks: readonly { readonly path: string; readonly format: 'raw' | 'qcow2'; readonly isReadOnly: boolean }[]
  readonly tap: string
  readonly mac: string
  readonly vcpus: number
}

function commandOf({ disks, tap, mac, vcpus }: QemuMachine): [string, ...string[]] {
  const drives = disks.flatMap(({ path, format, isReadOnly }) => {
    return ['-drive', `file=${path},format=${format},if=virtio,readonly=${isReadOnly ? 'on' : 'off'}`]
  })
  const card = [
    '-netdev',
    `tap,id=net,ifname=${tap},script=no,downscript=no`,
    '-device',
    `virtio-net-pci,netdev=net,mac=${mac}`,
  ]
  const machine = ['-accel', 'kvm', '-cpu', 'host', '-M', 'q35', '-m', '1G', '-smp', String(vcpus), '-bios', firmware]
  const rest = ['-nodefaults', '-no-user-config', '-nographic', '-serial', 'stdio', '-device', 'virtio-rng-pci']
  return [program, ...machine, ...rest, ...drives, ...card]
}

/** Debian's QEMU with its serial console at hand; disposing kills it where it still runs. */
export class QemuProcess extends GuestProcess {
  constructor(machine: QemuMachine) {
    super(commandOf(machine))
  }
}
