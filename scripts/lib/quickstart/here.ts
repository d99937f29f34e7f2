import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { GuestConsole } from '../../../integration/harness/guest-console.ts'

const program = new URL('../../../dist/tsvmm', import.meta.url).pathname
const tapName = 'tsvmmqs0'
const hostAddress = '192.168.249.1'

/** What the demonstration types, as a curious person would. */
const demonstration = [
  'uname -a',
  'nproc',
  'lspci',
  'lsblk',
  `ping -c 1 ${hostAddress}`,
  'cat /proc/sys/kernel/random/uuid',
]

/** Boots the guest with two disks, a network card and a random source on this machine's KVM. */
export async function runHere(fixtures: string, isTerminal: boolean): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'tsvmm-quickstart-'))
  try {
    const root = join(directory, 'root.img')
    copyFileSync(join(fixtures, 'debian-root', 'root.img'), root)
    const args = flags(fixtures, root)
    console.log(`quickstart: tsvmm ${args.map(quoted).join(' ')}`)
    return isTerminal ? await interact(args) : await demonstrate(args)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

function flags(fixtures: string, root: string): string[] {
  const kernel = (name: string) => join(fixtures, 'debian-kernel', name)
  return [
    ...['--kernel', kernel('vmlinux'), '--initramfs', kernel('initrd')],
    ...['--cmdline', 'console=ttyS0 quiet root=/dev/vda rw'],
    ...['--disk', `path=${root}`, `path=${join(fixtures, 'seed', 'seed.img')},readonly=on`],
    ...['--net', `tap=${tapName},mac=12:34:56:78:90:ab,ip=${hostAddress},mask=255.255.255.0`],
    ...['--cpus', 'boot=2', '--memory', 'size=512M', '--serial', 'tty', '--console', 'off'],
  ]
}

function quoted(argument: string): string {
  return argument.includes(' ') ? `'${argument}'` : argument
}

async function interact(args: readonly string[]): Promise<number> {
  console.log('quickstart: log in as root, password tsvmm; Ctrl-A x ends the machine, so does poweroff')
  const { exitCode } = await execa(program, args, { stdio: 'inherit', reject: false })
  return exitCode ?? 1
}

async function demonstrate(args: readonly string[]): Promise<number> {
  const vm = execa(program, args, {
    reject: false,
    buffer: false,
    stdin: 'pipe',
    stderr: 'inherit',
  })
  const guest = new GuestConsole(vm.stdout, vm.stdin)
  await guest.logIn()
  console.log('quickstart: logged in')
  await guest.check('ip addr add 192.168.249.2/24 dev eth0 && ip link set eth0 up')
  for (const command of demonstration) console.log(`guest# ${command}\n${await guest.check(command)}`)
  guest.type('poweroff\n')
  const { exitCode } = await vm
  console.log(`quickstart: the guest has powered off, tsvmm ended with ${exitCode}`)
  return exitCode ?? 1
}
