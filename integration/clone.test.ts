import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import test from 'ava'
import { privateBytesByFile } from '../scripts/bench/process-memory.ts'
import { Vm } from '../src/index.ts'
import { ApiClient } from './harness/api-client.ts'
import { customKernel, debianKernel, type GuestKernel } from './harness/artifacts.ts'
import { runTsvmm, TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const initramfs = debianKernel.flags('').at(-1) ?? ''

/** Takes lines of shell at its serial port, on which the kernel says nothing in between: busy hosts make it doubt their clocks. */
function shell(kernel: GuestKernel, socket: string): string[] {
  return [
    ...['--api-socket', socket, ...kernel.flags('console=ttyS0 loglevel=1 tsvmm.run=commands')],
    ...(kernel === customKernel ? ['--initramfs', initramfs] : []),
    ...['--cpus', 'boot=1', '--memory', 'size=256M', '--serial', 'tty', '--console', 'off'],
  ]
}

async function ask(vm: TsvmmProcess, line: string): Promise<string> {
  vm.console.type(`${line}\n`)
  const [text] = await vm.console.waitFor(/[\s\S]*?status 0\n/)
  return text.replace(/tsvmm# |status 0\n/g, '').trim()
}

test.serial(
  'a restored guest is told before anything else that it is another, and draws other random numbers',
  async t => {
    using workspace = new Workspace()
    const socket = workspace.path('api.sock')
    const api = new ApiClient(socket)
    const path = workspace.path('one')
    const forks = "dmesg | grep -c 'crng reseeded due to virtual machine fork'; true"
    {
      await using vm = new TsvmmProcess(shell(customKernel, socket))
      await vm.console.waitFor(/tsvmm# $/)
      await api.change('/vm.pause')
      await api.change('/vm.resume')
      t.is(await ask(vm, forks), '0', 'neither the boot nor a pause is a fork')
      await api.change('/vm.snapshot', { destination_url: `file://${path}` })
      t.is(await ask(vm, forks), '0', 'the one that was saved is still itself')
    }
    const drawn = new Set<string>()
    for (const _ of ['one', 'other']) {
      await using vm = new TsvmmProcess(['restore', path])
      drawn.add(await ask(vm, 'head -c 16 /dev/urandom | hexdump -C'))
      t.is(await ask(vm, forks), '1')
    }
    t.is(drawn.size, 2)
  },
)

test.serial(
  'the identity of a restored guest is where its firmware tables say, and only a restore changes it',
  async t => {
    using workspace = new Workspace()
    const socket = workspace.path('api.sock')
    const api = new ApiClient(socket)
    const path = workspace.path('one')
    /** The ID, then of the VM clock: sequence count, disruption marker, generation. */
    const identity = async (vm: TsvmmProcess) => {
      const page = (number: number) =>
        ask(vm, `dd if=/dev/mem bs=4096 skip=${number} count=1 2>/dev/null | head -c 112 | xxd -p`)
      const id = (await page(0xef)).replaceAll(/\s/g, '').slice(0, 32)
      const text = await page(0xee)
      const clock = Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
      t.is(clock.toString('latin1', 0, 4), 'VCLK', text)
      return { id, clock: [clock.readUInt32LE(12), clock.readBigUInt64LE(16), clock.readBigUInt64LE(104)] }
    }
    await using vm = new TsvmmProcess(shell(debianKernel, socket))
    await vm.console.waitFor(/tsvmm# $/)
    const first = await identity(vm)
    t.deepEqual(first.clock, [0, 0n, 0n])
    await api.change('/vm.snapshot', { destination_url: `file://${path}` })
    await api.change('/vm.reboot')
    await vm.console.waitFor(/TSVMM-INIT-READY[\s\S]*tsvmm# $/)
    t.deepEqual(await identity(vm), first)
    const ids = new Set([first.id])
    for (const _ of ['one', 'other']) {
      await using restored = new TsvmmProcess(['restore', path])
      const { id, clock } = await identity(restored)
      ids.add(id)
      t.deepEqual(clock, [2, 1n, 1n])
    }
    t.is(ids.size, 3)
  },
)

const mebibyte = 1024 * 1024

/** Says again and again what it is: random numbers, and how often it was told that it is another. */
const selfPortrait = `while :; do echo "DRAWN $(head -c 16 /dev/urandom | hexdump -e '16/1 "%02x"') $(dmesg | grep -c 'virtual machine fork')"; sleep 1; done &`

test.serial('clones in one process share memory and draw random numbers of their own, and each goes on', async t => {
  using workspace = new Workspace()
  const socket = workspace.path('api.sock')
  const path = workspace.path('one')
  const disk = workspace.path('data.img')
  writeFileSync(disk, Buffer.alloc(mebibyte, 'as it was'))
  {
    await using vm = new TsvmmProcess([...shell(customKernel, socket), '--disk', `path=${disk}`])
    await vm.console.waitFor(/tsvmm# $/)
    vm.console.type(`${selfPortrait}\n`)
    await vm.console.waitFor(/DRAWN/)
    await new ApiClient(socket).change('/vm.snapshot', { destination_url: `file://${path}` })
  }
  const refused = await runTsvmm(['restore', path, '--clone', '3'])
  t.is(refused.exitCode, 1)
  t.regex(
    refused.stderr,
    /^tsvmm: error: clones: machines cannot share --disk _disk0 \(.*\), --serial \(the terminal\): [^\n]*\n?$/,
  )

  const log = (number: number) => workspace.path(`serial-${number}.log`)
  const sockets = [0, 1, 2].map(number => new ApiClient(workspace.path(`api-${number}.sock`)))
  await using vms = new TsvmmProcess([
    ...['restore', path, '--clone', '3,disks=copy', '--serial', `file=${workspace.path('serial-{n}.log')}`],
    ...['--api-socket', workspace.path('api-{n}.sock')],
  ])
  const portraits = (number: number) => {
    const text = existsSync(log(number)) ? readFileSync(log(number), 'latin1') : ''
    return [...text.matchAll(/DRAWN ([0-9a-f]{32}) (\d+)\r?\n/g)].map(([, drawn = '', told = '']) => ({ drawn, told }))
  }
  const deadline = performance.now() + 120_000
  const numbers = [0, 1, 2]
  while (numbers.some(number => portraits(number).length < 3)) {
    t.true(performance.now() < deadline, numbers.map(number => portraits(number).length).join(' '))
    await delay(100)
  }
  // The first may have been drawn before; it was on its way out then.
  const drawn = numbers.flatMap(number => portraits(number).slice(1))
  t.is(new Set(drawn.map(each => each.drawn)).size, drawn.length)
  t.true(drawn.every(({ told }) => told === '1'))

  const { inFile, elsewhere } = privateBytesByFile(vms.pid, `${path}/memory.img`)
  t.log(`changed by each guest ${inFile / 3 / mebibyte} MiB, the rest of the process ${elsewhere / mebibyte} MiB`)
  t.true(inFile / 3 < 16 * mebibyte)
  t.deepEqual(
    readdirSync(workspace.directory).filter(name => name.includes('data.img')),
    ['data.img'],
  )

  await sockets[1]?.change('/vm.pause')
  t.deepEqual(await Promise.all(sockets.map(api => api.state())), ['Running', 'Paused', 'Running'])
  for (const api of sockets) t.is((await api.put('/vmm.shutdown')).status, 200)
  const { exitCode, stderr } = await vms.exit()
  t.is(exitCode, 0, stderr)
})

test.serial('a machine that is forked while it boots boots on, and so do its clones', async t => {
  using workspace = new Workspace()
  const log = (name: string) => workspace.path(`${name}.log`)
  const said = (name: string) => readFileSync(log(name), 'latin1')
  const [, kernel = '', , cmdline = ''] = customKernel.flags('console=ttyS0 tsvmm.run=poweroff')
  await using vm = await Vm.create({
    payload: { kernel, initramfs, cmdline },
    memory: { size: 256 * mebibyte },
    serial: { mode: 'File', file: log('source') },
    console: { mode: 'Off' },
  })
  await vm.boot()
  while (!said('source').includes('Memory: ')) await delay(20)
  const clones = await vm.fork(2, { resume: true, overrides: { serial: { mode: 'File', file: log('clone-{n}') } } })
  await using all = new AsyncDisposableStack()
  for (const clone of clones) all.use(clone)
  for (const each of [vm, ...clones]) t.deepEqual(await each.wait(), { kind: 'power-off' })
  for (const name of ['source', 'clone-0', 'clone-1']) t.regex(said(name), /TSVMM-INIT-READY/)
  t.notRegex(said('clone-0'), /Linux version/)
})
