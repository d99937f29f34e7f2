import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { execa } from 'execa'
import { RawClient } from '../src/api/testing/raw-client.ts'
import { ApiClient } from './harness/api-client.ts'
import { debianKernel } from './harness/artifacts.ts'
import type { GuestConsole } from './harness/guest-console.ts'
import { TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const program = new URL('../dist/tsvmm', import.meta.url).pathname
const [, kernel = '', , , , initramfs = ''] = debianKernel.flags('')

function machine(run: string, disk: string) {
  return {
    payload: { kernel, initramfs, cmdline: `console=ttyS0 quiet tsvmm.run=${run}` },
    cpus: { boot_vcpus: 2, max_vcpus: 2 },
    memory: { size: 256 * 1024 * 1024 },
    disks: [{ path: disk }],
    serial: { mode: 'Tty' },
    console: { mode: 'Off' },
  }
}

function emptyDisk(workspace: Workspace): string {
  const path = workspace.path('data.img')
  writeFileSync(path, '')
  truncateSync(path, 16 * 1024 * 1024)
  return path
}

const prompt = /tsvmm# $/

/** Runs a line at the prompt for programs; returns what it printed. */
async function command(console: GuestConsole, line: string): Promise<string> {
  console.type(`${line}\n`)
  const [text] = await console.waitFor(/.*status 0\ntsvmm# $/s, 60_000)
  return text.replace(/status 0\ntsvmm# $/, '')
}

/** How often an interrupt has come, on all vCPUs. */
async function interrupts(console: GuestConsole, name: string): Promise<number> {
  const text = await command(console, `grep '${name}' /proc/interrupts`)
  const [, first, second] = /^ *\w+: +(\d+) +(\d+) /m.exec(text) ?? []
  return Number(first) + Number(second)
}

function eventNames(path: string): string[] {
  return readFileSync(path, 'utf8')
    .split('\n\n')
    .filter(text => text !== '')
    .map(text => {
      const { source, event } = JSON.parse(text)
      return `${source}:${event}`
    })
}

async function devicesAreSeen(t: ExecutionContext, api: ApiClient, vm: TsvmmProcess): Promise<void> {
  const { json } = await api.get('/vm.info')
  t.like(json, {
    state: 'Running',
    memory_actual_size: 256 * 1024 * 1024,
    config: { cpus: { boot_vcpus: 2, max_vcpus: 2 } },
    device_tree: {
      '_virtio-pci-_disk0': { pci_bdf: '0000:00:01.0', children: ['_disk0'] },
      _disk0: { parent: '_virtio-pci-_disk0' },
    },
  })
  const tasks = readdirSync(`/proc/${vm.pid}/task`)
  const names = tasks.map(task => readFileSync(`/proc/${vm.pid}/task/${task}/comm`, 'utf8').trim())
  t.deepEqual(names.filter(name => /^vcpu\d+$/.test(name)).toSorted(), ['vcpu0', 'vcpu1'])
  // libvirt tells threads that move data, and those of the program itself, from vCPUs.
  t.true(names.includes('http-server'), names.join(' '))
  t.true(
    names.some(name => name.startsWith('_disk0')),
    names.join(' '),
  )

  const readBytes = async () => {
    const { json: counters } = await api.get('/vm.counters')
    const disk: unknown = Reflect.get(Object(counters), '_disk0')
    return Number(Reflect.get(Object(disk), 'read_bytes'))
  }
  const before = await readBytes()
  await command(vm.console, 'dd if=/dev/vda of=/dev/null bs=64k count=16 2>/dev/null')
  t.true((await readBytes()) >= before + 1024 * 1024)
}

/** How far the guest's clock is behind the one outside, in seconds, at least and at most: it is read within the answer's time. */
async function clockLag(console: GuestConsole): Promise<{ least: number; most: number }> {
  const before = performance.now() / 1000
  const text = await command(console, 'cat /proc/uptime')
  const uptime = Number(/^([\d.]+) /m.exec(text)?.[1])
  return { least: before - uptime, most: performance.now() / 1000 - uptime }
}

/** Until nothing has come for a second; a guest that ticks twenty times as often never gets there. */
async function silence(console: GuestConsole): Promise<void> {
  const deadline = performance.now() + 30_000
  for (let length = -1; length !== console.transcript.length; ) {
    if (performance.now() > deadline) throw new Error('the guest does not fall silent')
    length = console.transcript.length
    await delay(1_000)
  }
}

async function standsStillWhilePaused(t: ExecutionContext, api: ApiClient, vm: TsvmmProcess): Promise<void> {
  const lag = await clockLag(vm.console)
  await command(vm.console, '(while [ ! -e /tmp/stop ]; do echo tick; usleep 50000; done) &')
  await vm.console.waitFor(/tick\n/)
  await api.change('/vm.pause')
  const pausedAt = performance.now()
  t.is(await api.state(), 'Paused')
  t.is((await api.put('/vm.pause')).status, 500)
  await silence(vm.console)
  const { length } = vm.console.transcript
  await delay(2_000)
  t.is(vm.console.transcript.length, length, 'a paused guest says nothing')
  const pausedSeconds = (performance.now() - pausedAt) / 1000
  await api.change('/vm.resume')
  await vm.console.waitFor(/tick\n/)
  t.is(await api.state(), 'Running')
  vm.console.type('touch /tmp/stop\n')
  await vm.console.waitFor(prompt)
  const { most } = await clockLag(vm.console)
  t.true(most >= lag.least + pausedSeconds, 'the time of the pause is not the guest’s')
}

/** Waits until an interrupt has come `count` times: on its way to another vCPU it may be later than the console's. */
async function interrupted(console: GuestConsole, name: string, count: number): Promise<void> {
  const deadline = performance.now() + 60_000
  while ((await interrupts(console, name)) < count && performance.now() < deadline) await delay(100)
}

/** A machine that runs is paused for it and goes on. */
async function coreHasTheGuest(t: ExecutionContext, api: ApiClient, path: string): Promise<void> {
  await api.change('/vm.coredump', { destination_url: `file://${path}` })
  t.is(await api.state(), 'Running')
  const core = readFileSync(path)
  t.is(core.toString('latin1', 1, 4), 'ELF')
  t.true(core.includes('Linux version '), 'the memory of its kernel is in it')
  t.is([...core.toString('latin1', 0, 4096).matchAll(/QEMU\0/g)].length, 2, 'a note for each vCPU')
  rmSync(path)
}

test.serial('a machine is created, driven and ended through the API, twice over', async t => {
  using workspace = new Workspace()
  const socket = workspace.path('api.sock')
  const events = workspace.path('events')
  const api = new ApiClient(socket)
  await using vm = new TsvmmProcess(['--api-socket', `path=${socket}`, '--event-monitor', `path=${events}`])
  await api.ready()
  t.like((await api.get('/vmm.ping')).json, { pid: vm.pid })
  t.is((await api.put('/vm.boot')).status, 404)

  await api.change('/vm.create', machine('commands', emptyDisk(workspace)))
  t.is(await api.state(), 'Created')
  t.is((await api.put('/vm.create', machine('commands', '/nowhere'))).status, 500)
  await api.change('/vm.boot')
  t.is(await api.state(), 'Running')
  await vm.console.waitFor(prompt, 120_000)
  await devicesAreSeen(t, api, vm)
  await standsStillWhilePaused(t, api, vm)

  const pressed = await interrupts(vm.console, 'ACPI:Ged')
  await api.change('/vm.power-button')
  await interrupted(vm.console, 'ACPI:Ged', pressed + 1)
  t.is(await interrupts(vm.console, 'ACPI:Ged'), pressed + 1)
  await coreHasTheGuest(t, api, workspace.path('core'))
  const nmis = await interrupts(vm.console, 'NMI:')
  await api.change('/vm.nmi')
  // Linux says so on each of them, in two lines, which may come in one another's midst.
  await vm.console.waitFor(/(?:trying to continue\n.*?){2}/s)
  await interrupted(vm.console, 'NMI:', nmis + 2)
  t.is(await interrupts(vm.console, 'NMI:'), nmis + 2, 'one for each vCPU')

  await api.change('/vm.reboot')
  await vm.console.waitFor(/TSVMM-INIT-READY/, 120_000)
  await vm.console.waitFor(prompt)
  t.is(await api.state(), 'Running')

  await api.change('/vm.shutdown')
  t.is(await api.state(), 'Created')
  t.is((await api.get('/vm.counters')).status, 500)
  await api.change('/vm.boot')
  await vm.console.waitFor(prompt, 120_000)
  await api.change('/vm.delete')
  t.is((await api.get('/vm.info')).status, 404)
  await api.change('/vm.create', machine('commands', workspace.path('data.img')))
  await api.change('/vm.boot')
  await vm.console.waitFor(prompt, 120_000)
  t.is((await api.put('/vmm.shutdown')).status, 200)
  const { exitCode, stderr } = await vm.exit()
  t.is(exitCode, 0, stderr)
  t.false(existsSync(socket))
  t.deepEqual(eventNames(events), [
    ...['vmm:starting', 'vm:booting', 'vm:booted', 'vm:pausing', 'vm:paused', 'vm:resuming', 'vm:resumed'],
    ...['vm:coredumping', 'vm:coredumped', 'vm:rebooting', 'vm:rebooted', 'vm:shutdown', 'vm:booting', 'vm:booted'],
    ...['vm:shutdown', 'vm:deleted'],
    ...['vm:booting', 'vm:booted', 'vm:shutdown', 'vm:deleted', 'vmm:shutdown'],
  ])
})

/** The shortest of a few, in milliseconds. */
async function quickest(action: () => Promise<unknown>): Promise<number> {
  const times: number[] = []
  for (let run = 0; run < 3; run += 1) {
    const begun = performance.now()
    await action()
    times.push(performance.now() - begun)
  }
  return Math.min(...times)
}

const goRequest = (method: string, path: string, body = '') =>
  `${method} /api/v1/${path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Go-http-client/1.1\r\n` +
  `${method === 'GET' ? '' : `Content-Length: ${body.length}\r\n`}Accept-Encoding: gzip\r\n\r\n${body}`

/** As Kata Containers does: again every 10 ms, for ten seconds in all (of `second` milliseconds). */
async function firstAnswer(socket: string, second: number): Promise<{ text: string; attemptMs: number }> {
  const deadline = performance.now() + 10 * second
  while (performance.now() < deadline) {
    const begun = performance.now()
    using client = new RawClient(socket)
    client.send(goRequest('GET', 'vmm.ping'))
    try {
      return { text: await client.expect(/\}$/), attemptMs: performance.now() - begun }
    } catch {
      await delay(10)
    }
  }
  throw new Error('nobody answers within ten seconds')
}

test.serial('a client that has no patience gets its answers in time', async t => {
  using workspace = new Workspace()
  const socket = workspace.path('api.sock')
  // A second is what clients wait, on machines where a Node that does nothing takes a tenth of that at most. Others are slower in all.
  const second = Math.max(1_000, 10 * (await quickest(() => execa(process.execPath, ['-e', '1']))))
  const inTime = (what: string, milliseconds: number) => {
    t.log(`${what}: ${milliseconds.toFixed(0)} of ${second.toFixed(0)} ms`)
    t.true(milliseconds < second, `${what} took ${milliseconds} ms`)
  }
  const begun = performance.now()
  await using vm = new TsvmmProcess(['--api-socket', socket])
  const { text, attemptMs } = await firstAnswer(socket, second)
  inTime('the first answer since the start', performance.now() - begun)
  inTime('that answer since it was asked for', attemptMs)
  t.regex(text, new RegExp(`^HTTP/1\\.1 200 \r\n.*"pid":${vm.pid}\\b`, 's'))
  // On one connection, as long as the machine lives.
  using client = new RawClient(socket)
  client.send(goRequest('PUT', 'vm.create', JSON.stringify(machine('poweroff', emptyDisk(workspace)))))
  t.regex(await client.expect(/\r\n\r\n$/), /^HTTP\/1\.1 204 \r\n/)
  client.send(goRequest('GET', 'vm.info'))
  t.regex(await client.expect(/\}$/), /"state":"Created"/)
  const asked = performance.now()
  client.send(goRequest('PUT', 'vm.boot'))
  t.regex(await client.expect(/\r\n\r\n$/), /^HTTP\/1\.1 204 \r\n/)
  inTime('vm.boot', performance.now() - asked)
  client.send(goRequest('GET', 'vm.info'))
  t.regex(await client.expect(/\}$/), /"state":"Running"/)
  client.send(goRequest('PUT', 'vmm.shutdown'))
  t.regex(await client.expect(/\r\n\r\n$/), /^HTTP\/1\.1 200 \r\n/)
  t.is((await vm.exit()).exitCode, 0)
})

test.serial('a boot that fails leaves a machine that boots once its cause is gone', async t => {
  using workspace = new Workspace()
  const socket = workspace.path('api.sock')
  const api = new ApiClient(socket)
  await using vm = new TsvmmProcess(['--api-socket', socket])
  await api.ready()
  const disk = workspace.path('data.img')
  await api.change('/vm.create', machine('poweroff', disk))
  const { status, json } = await api.put('/vm.boot')
  t.is(status, 500)
  t.deepEqual(json, [
    ...['Error from API', 'The VM could not boot', `--disk ${disk}: no such file or directory`],
    ...(Array.isArray(json) ? json.slice(3) : []),
  ])
  t.is(await api.state(), 'Created')
  emptyDisk(workspace)
  await api.change('/vm.boot')
  await vm.console.waitFor(/TSVMM-INIT-READY/, 120_000)
  const { exitCode, stderr } = await vm.exit()
  t.is(exitCode, 0, `the guest's power-off ends the program: ${stderr}`)
  t.false(existsSync(socket))
})

test.serial('commands drive a machine of the command line, which outlives its power-off where asked', async t => {
  using workspace = new Workspace()
  const socket = workspace.path('api.sock')
  const api = new ApiClient(socket)
  await using vm = new TsvmmProcess([
    ...['--api-socket', socket, '--no-shutdown', '--cpus', 'boot=1', '--memory', 'size=256M'],
    ...debianKernel.flags('console=ttyS0 quiet tsvmm.run=poweroff'),
    ...['--serial', 'tty', '--console', 'off'],
  ])
  const tsvmm = (...args: readonly string[]) => execa(program, ['--api-socket', socket, ...args])
  await vm.console.waitFor(/TSVMM-INIT-READY/, 120_000)
  while ((await api.state()) !== 'Created') await delay(20)
  t.regex((await tsvmm('info')).stdout, /^state +Created\nvCPUs +1\nmemory +256 MiB\n/)
  await tsvmm('boot')
  await vm.console.waitFor(/TSVMM-INIT-READY/, 120_000)
  vm.kill('SIGTERM')
  const { exitCode, stderr } = await vm.exit()
  t.is(exitCode, 0, stderr)
  t.false(existsSync(socket))
  t.false(existsSync(`${socket}.lock`))
})
