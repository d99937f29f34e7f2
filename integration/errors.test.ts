import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { execa } from 'execa'
import { Vm } from '../src/index.ts'
import { debianBzImage, debianKernel } from './harness/artifacts.ts'
import { TapNetwork } from './harness/tap-network.ts'
import { runTsvmm, TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const kernel = debianKernel.flags('console=ttyS0')
const [, kernelPath = ''] = kernel
const bzImage = debianBzImage.flags('').slice(0, 2)
const nothing = ['--kernel', '/nowhere']

/** Files that cannot be what they are given as. */
const files = new Workspace()
test.after.always(() => files[Symbol.dispose]())
const empty = files.path('empty')
writeFileSync(empty, '')
const image = files.path('image')
writeFileSync(image, new Uint8Array(1024 * 1024))
const fifo = files.path('fifo')
execFileSync('mkfifo', [fifo])
const longText = 'x'.repeat(70_000)

function interfaces(): string[] {
  return readdirSync('/sys/class/net').sort()
}

/** A flag set that must be refused: the exit code, and what the one line says. */
const refused: readonly {
  readonly title: string
  readonly args: readonly string[]
  readonly code: number
  readonly says: RegExp
}[] = [
  { title: 'an unknown flag', args: ['--kernl', 'x'], code: 2, says: /--kernl/ },
  { title: 'an unknown key', args: [...kernel, '--memory', 'sise=1G'], code: 2, says: /--memory: .*sise.*size/ },
  { title: 'a key without a value', args: [...kernel, '--cpus', 'boot'], code: 2, says: /--cpus: .*boot/ },
  {
    title: 'a flag given twice',
    args: [...kernel, '--memory', 'size=1G', '--memory', 'size=2G'],
    code: 2,
    says: /--memory .*twice/,
  },
  { title: 'an argument without a flag', args: [...kernel, 'extra'], code: 2, says: /unknown command 'extra'/ },
  {
    title: 'a value of another kind',
    args: [...kernel, '--cpus', 'boot=two'],
    code: 2,
    says: /--cpus: boot: two is not/,
  },
  {
    title: 'an unknown target',
    args: [...kernel, '--serial', 'nul'],
    code: 2,
    says: /--serial: nul is none of .*null/,
  },
  { title: 'a key given twice', args: [...kernel, '--cpus', 'boot=1,boot=2'], code: 2, says: /--cpus: .*boot.*twice/ },
  { title: 'a disk without a path', args: [...kernel, '--disk', 'readonly=on'], code: 2, says: /--disk: .*path/ },
  { title: 'memory of size 0', args: [...kernel, '--memory', 'size=0'], code: 1, says: /--memory: size/ },
  {
    title: 'more memory than the host has',
    args: [...kernel, '--memory', 'size=100T'],
    code: 1,
    says: /--memory: size/,
  },
  { title: 'no vCPU', args: [...kernel, '--cpus', 'boot=0'], code: 1, says: /--cpus: boot/ },
  { title: 'too many vCPUs', args: [...kernel, '--cpus', 'boot=4096'], code: 1, says: /--cpus: boot/ },
  { title: 'no kernel', args: ['--memory', 'size=256M'], code: 1, says: /--kernel/ },
  {
    title: 'a kernel that is not there',
    args: ['--kernel', '/nowhere'],
    code: 1,
    says: /--kernel \/nowhere: no such file/,
  },
  { title: 'a directory as kernel', args: ['--kernel', '/tmp'], code: 1, says: /--kernel \/tmp: is a directory/ },
  {
    title: 'a script as kernel',
    args: ['--kernel', process.execPath.replace(/node$/, '../package.json')],
    code: 1,
    says: /--kernel/,
  },
  {
    title: 'a directory as disk',
    args: [...kernel, '--disk', 'path=/tmp'],
    code: 1,
    says: /--disk \/tmp: .*directory/,
  },
  {
    title: 'a disk that is not there',
    args: [...kernel, '--disk', 'path=/nowhere'],
    code: 1,
    says: /--disk \/nowhere: no such file/,
  },
  { title: 'no hypervisor', args: [...kernel, '--kvm', '/dev/null'], code: 1, says: /\/dev\/null/ },
  {
    title: 'a multicast MAC address',
    args: [...kernel, '--net', 'mac=01:00:00:00:00:01'],
    code: 1,
    says: /--net: mac/,
  },
  { title: 'an empty path', args: ['--kernel', ''], code: 2, says: /--kernel .*empty/ },
  { title: 'an empty file as kernel', args: ['--kernel', empty], code: 1, says: /--kernel .*: is empty/ },
  { title: 'a FIFO as kernel', args: ['--kernel', fifo], code: 1, says: /--kernel .*: is not a regular file/ },
  {
    title: 'a kernel that RAM has no room for',
    args: [...kernel, '--memory', 'size=16M'],
    code: 1,
    says: /--kernel .*: it needs memory from 0x.*is --memory large enough/,
  },
  {
    title: 'a directory as initramfs',
    args: [...bzImage, '--initramfs', '/tmp'],
    code: 1,
    says: /--initramfs \/tmp: is a directory/,
  },
  {
    title: 'an initramfs that RAM has no room for',
    args: [...bzImage, '--memory', 'size=96M', '--initramfs', kernelPath],
    code: 1,
    says: /--initramfs .*: \d+ bytes; beside the kernel there is room for \d+/,
  },
  {
    title: 'a command line that the kernel cannot take',
    args: [...bzImage, '--cmdline', longText],
    code: 1,
    says: /--cmdline: 70000 bytes are too long; this kernel takes at most \d+/,
  },
  { title: 'an empty disk', args: [...kernel, '--disk', `path=${empty}`], code: 1, says: /--disk .*: is smaller/ },
  { title: 'a FIFO as disk', args: [...kernel, '--disk', `path=${fifo}`], code: 1, says: /--disk .*: is neither/ },
  {
    title: 'no source of randomness',
    args: [...kernel, '--rng', 'src=/nowhere'],
    code: 1,
    says: /--rng \/nowhere: no/,
  },
  { title: 'a FIFO as randomness', args: [...kernel, '--rng', `src=${fifo}`], code: 1, says: /--rng .*: is neither/ },
  {
    title: 'serial output where no directory is',
    args: [...kernel, '--serial', 'file=/nowhere/log'],
    code: 1,
    says: /--serial \/nowhere\/log: no such file/,
  },
  {
    title: 'console output into a directory',
    args: [...kernel, '--console', 'file=/tmp'],
    code: 1,
    says: /--console \/tmp: .*directory/,
  },
  {
    title: 'a log into a FIFO that nobody reads',
    args: [...kernel, '--log-file', fifo],
    code: 2,
    says: /--log-file: .*: nobody reads this FIFO/,
  },
  {
    title: 'a device that is not there',
    args: [...kernel, '--kvm', '/nowhere'],
    code: 1,
    says: /cannot open \/nowhere/,
  },
  {
    title: 'more huge pages than the host has',
    args: [...kernel, '--memory', 'size=512M,hugepages=on'],
    code: 1,
    says: /--memory: .*huge pages/,
  },
  {
    title: 'memory beyond the address bits',
    args: [...kernel, '--cpus', 'max_phys_bits=32'],
    code: 1,
    says: /--memory: size: .* 32 address bits/,
  },
  {
    title: 'a host CPU that is not there',
    args: [...kernel, '--cpus', 'affinity=[0@[4095]]'],
    code: 1,
    says: /--cpus: affinity: this host has no CPU 4095/,
  },
  {
    title: 'a topology whose ids are too large',
    args: [...kernel, '--cpus', 'boot=195,topology=1:3:1:65'],
    code: 1,
    says: /--cpus: the APIC id of vCPU 194 would be 258/,
  },
  { title: 'an interface that is no tap', args: [...kernel, '--net', 'tap=lo'], code: 1, says: /--net tap=lo: .*tap/ },
  { title: 'a descriptor that is not open', args: [...kernel, '--net', 'fd=99'], code: 1, says: /--net fd=\[99\]: / },
  { title: 'a UUID that is none', args: [...kernel, '--platform', 'uuid=7'], code: 1, says: /--platform: uuid: 7/ },
  {
    title: 'a kernel that is not there, after a tap was made and a disk locked,',
    args: [...nothing, '--net', 'tap=tsvmm9', '--disk', `path=${image}`],
    code: 1,
    says: /--kernel \/nowhere: no such file/,
  },
]

for (const { title, args, code, says } of refused) {
  test.serial(`${title} is refused in one line that names the flag, and nothing is left behind`, async t => {
    const before = interfaces()
    const { exitCode, stderr } = await runTsvmm(args)
    t.regex(stderr, says)
    t.is(stderr.trim().split('\n').length, 1, stderr)
    t.is(exitCode, code, stderr)
    t.deepEqual(interfaces(), before)
  })
}

test.serial('a truncated kernel is refused', async t => {
  using workspace = new Workspace()
  const cut = workspace.path('vmlinux')
  writeFileSync(cut, readFileSync(kernelPath))
  truncateSync(cut, 1_000_000)
  const { exitCode, stderr } = await runTsvmm(['--kernel', cut])
  t.is(exitCode, 1)
  t.regex(stderr, /--kernel .*(cut off|beyond the end)/)
})

test.serial('a kernel whose segments overlap is refused', async t => {
  using workspace = new Workspace()
  const kernelCopy = workspace.path('vmlinux')
  const bytes = readFileSync(kernelPath)
  const headers = Number(bytes.readBigUInt64LE(32))
  const loadable = Array.from({ length: bytes.readUInt16LE(56) }, (_, index) => headers + 56 * index).filter(
    header => bytes.readUInt32LE(header) === 1,
  )
  const [first = 0, second = 0] = loadable
  const physicalAddress = 24
  bytes.copy(bytes, second + physicalAddress, first + physicalAddress, first + physicalAddress + 8)
  writeFileSync(kernelCopy, bytes)
  const { exitCode, stderr } = await runTsvmm(['--kernel', kernelCopy])
  t.is(exitCode, 1)
  t.regex(stderr, /--kernel .*: the segment at 0x[0-9a-f]+ to 0x[0-9a-f]+ overlaps another/)
})

test.serial('a machine that cannot be built or booted gives everything back to its process', async t => {
  using workspace = new Workspace()
  const disk = workspace.path('data.img')
  writeFileSync(disk, new Uint8Array(1024 * 1024))
  const config = {
    payload: { kernel: '/nowhere' },
    memory: { size: 64 * 1024 * 1024 },
    disks: [{ path: disk }],
    net: [{ tap: 'tsvmm9' }],
    serial: { mode: 'File', file: workspace.path('serial.log') },
    console: { mode: 'Off' },
  } satisfies Parameters<typeof Vm.create>[0]
  const sparse = { threads_per_core: 1, cores_per_die: 3, dies_per_package: 1, packages: 65 }
  const failures: readonly { code: string; config: Parameters<typeof Vm.create>[0] }[] = [
    { code: 'ERR_KERNEL_OPEN', config },
    { code: 'ERR_DISK', config: { ...config, disks: [{ path: disk }, { path: '/nowhere' }] } },
    { code: 'ERR_NET', config: { ...config, net: [...config.net, { tap: 'lo' }] } },
    { code: 'ERR_RNG', config: { ...config, rng: { src: '/nowhere' } } },
    { code: 'ERR_CHARDEV', config: { ...config, console: { mode: 'File', file: '/nowhere/log' } } },
    { code: 'ERR_MEMORY', config: { ...config, memory: { ...config.memory, hugepages: true } } },
    { code: 'ERR_CPUS', config: { ...config, cpus: { boot_vcpus: 195, topology: sparse } } },
  ]
  const count = (folder: string) => readdirSync(folder).length
  const held = () => ({
    descriptors: count('/proc/self/fd'),
    threads: count('/proc/self/task'),
    interfaces: interfaces(),
  })
  const fail = async ({ code, config }: (typeof failures)[number]) => {
    const run = async () => {
      await using vm = await Vm.create(config)
      await vm.boot()
    }
    await t.throwsAsync(run(), { code })
  }
  // The first machine of a process loads the addon, and Node starts the threads of its pool.
  for (const failure of failures) await fail(failure)
  for (const failure of failures) {
    const before = held()
    await fail(failure)
    t.deepEqual(held(), before, failure.code)
  }
})

test.serial('a kernel without a PVH note is refused with what to do', async t => {
  using workspace = new Workspace()
  const bare = workspace.path('vmlinux')
  const bytes = readFileSync(kernelPath)
  // Note segments become segments of a type that nobody knows.
  const headers = Number(bytes.readBigUInt64LE(32))
  for (let index = 0; index < bytes.readUInt16LE(56); index += 1) {
    if (bytes.readUInt32LE(headers + 56 * index) === 4) bytes.writeUInt32LE(0x6fff_ffff, headers + 56 * index)
  }
  writeFileSync(bare, bytes)
  const { exitCode, stderr } = await runTsvmm(['--kernel', bare])
  t.is(exitCode, 1)
  t.regex(stderr, /--kernel .*PVH/)
})

test.serial('a disk and a tap that another machine uses are refused by name, and that machine goes on', async t => {
  using workspace = new Workspace()
  const disk = workspace.path('data.img')
  writeFileSync(disk, new Uint8Array(1024 * 1024))
  await using network = await TapNetwork.create('tsvmm0', 201)
  const shared = ['--memory', 'size=256M', '--serial', 'tty', '--console', 'off']
  await using vm = new TsvmmProcess([
    ...debianKernel.flags('console=ttyS0 quiet'),
    ...shared,
    ...['--disk', `path=${disk}`, '--net', `tap=${network.tap}`],
  ])
  await vm.console.waitFor(/TSVMM-INIT-READY/, 60_000)
  const second = await runTsvmm([...kernel, ...shared, '--disk', `path=${disk}`])
  t.is(second.exitCode, 1)
  t.regex(second.stderr, /--disk .*data\.img: locked/)
  const third = await runTsvmm([...kernel, ...shared, '--net', `tap=${network.tap}`])
  t.is(third.exitCode, 1)
  t.regex(third.stderr, /--net tap=tsvmm0: .*in use/)
  t.notThrows(() => process.kill(vm.pid, 0))
})

test.serial('without permission on the KVM device the error says so', async t => {
  using workspace = new Workspace()
  mkdirSync(workspace.path('home'))
  execFileSync('chmod', ['755', workspace.directory])
  const program = new URL('../dist/tsvmm', import.meta.url).pathname
  const run = await execa('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', program, ...kernel], {
    reject: false,
    stdin: 'ignore',
    env: { HOME: workspace.path('home') },
  })
  t.is(run.exitCode, 1)
  t.regex(run.stderr, /cannot open \/dev\/kvm: permission denied/)
})
