import { execa } from 'execa'
import { GuestConsole } from './guest-console.ts'

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

function launch({ disks, tap, mac, vcpus }: QemuMachine) {
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
  return execa(program, [...machine, ...rest, ...drives, ...card], {
    ...{ reject: false, buffer: { stdout: false }, stdin: 'pipe' },
  })
}

/** Debian's QEMU with its serial console at hand; disposing kills it where it still runs. */
export class QemuProcess implements AsyncDisposable {
  readonly console: GuestConsole
  readonly #process: ReturnType<typeof launch>

  constructor(machine: QemuMachine) {
    this.#process = launch(machine)
    this.console = new GuestConsole(this.#process.stdout, this.#process.stdin, async () => (await this.exit()).stderr)
  }

  async exit(): Promise<{ readonly exitCode: number | undefined; readonly stderr: string }> {
    const { exitCode, stderr } = await this.#process
    return { exitCode, stderr }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL')
    await this.#process
  }
}
