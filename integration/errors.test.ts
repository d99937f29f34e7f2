import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { execa } from 'execa'
import { debianKernel } from './harness/artifacts.ts'
import { TapNetwork } from './harness/tap-network.ts'
import { runTsvmm, TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const kernel = debianKernel.flags('console=ttyS0')
const [, kernelPath = ''] = kernel

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
  const program = new URL('../dist/tsvmm.js', import.meta.url).pathname
  const run = await execa(
    'setpriv',
    ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, program, ...kernel],
    {
      reject: false,
      stdin: 'ignore',
      env: { HOME: workspace.path('home') },
    },
  )
  t.is(run.exitCode, 1)
  t.regex(run.stderr, /cannot open \/dev\/kvm: permission denied/)
})
