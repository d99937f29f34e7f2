import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { relative as relativeTo } from 'node:path'
import test from 'ava'
import { execa } from 'execa'
import { launch, program, Serving } from './testing/serving.ts'

const relativePath = (path: string) => relativeTo(process.cwd(), path)
const machine = { payload: { kernel: '/nowhere/vmlinux' }, cpus: { boot_vcpus: 2 }, disks: [{ path: '/nowhere/disk' }] }

test.serial('commands drive the program that serves the socket', async t => {
  await using serving = new Serving()
  const started = await serving.start()
  const ping = await serving.command('ping')
  t.regex(ping.stdout, new RegExp(`^tsvmm v\\S+, API of Cloud Hypervisor 53\\.0\\.0, process ${started.pid}$`))
  const json = await serving.command('ping', '--json')
  t.like(JSON.parse(json.stdout), { pid: started.pid })

  const missing = await serving.command('info')
  t.is(missing.exitCode, 1)
  t.is(missing.stderr, 'tsvmm: error: info: The VM info is not available: there is no machine: create one first')
  writeFileSync(serving.path('vm.json'), JSON.stringify(machine))
  t.is((await serving.command('create', serving.path('vm.json'))).exitCode, 0)
  const info = await serving.command('info')
  t.deepEqual(info.stdout.split('\n'), [
    ...['state   Created', 'vCPUs   2', 'memory  512 MiB', 'kernel  /nowhere/vmlinux'],
    'disk    _disk0            /nowhere/disk',
  ])
  const relative = relativePath(serving.path('data.img'))
  t.is((await serving.command('add-disk', relative)).exitCode, 0)
  t.is((await serving.command('add-net', 'tap=tap7,id=uplink')).exitCode, 0)
  const descriptors = [openSync(serving.path('vm.json'), 'r'), openSync(serving.path('vm.json'), 'r')]
  const adding = ['--api-socket', serving.socket, 'add-net', 'id=passed,fd=[3,4],num_queues=4']
  const [exitCode] = await once(launch(adding, descriptors), 'exit')
  for (const fd of descriptors) closeSync(fd)
  t.is(exitCode, 0)
  const held = () => {
    const targets = readdirSync(`/proc/${started.pid}/fd`).map(fd => readlinkSync(`/proc/${started.pid}/fd/${fd}`))
    return targets.filter(target => target === serving.path('vm.json')).length
  }
  t.is(held(), 2)
  t.is((await serving.command('remove-device', 'passed')).exitCode, 0)
  t.is(held(), 0)
  const unknown = await serving.command('remove-device', '_disk7')
  t.is(unknown.exitCode, 1)
  t.regex(unknown.stderr, /^tsvmm: error: remove-device: .*: there is no device _disk7$/)
  t.is((await serving.command('remove-device', '_disk0')).exitCode, 0)
  t.like(JSON.parse((await serving.command('info', '--json')).stdout), {
    config: { disks: { length: 1, 0: { path: serving.path('data.img') } }, net: { 0: { id: 'uplink' } } },
  })
  const boot = await serving.command('boot')
  t.is(boot.exitCode, 1)
  t.regex(boot.stderr, /^tsvmm: error: boot: The VM could not boot: .*\/dev\/null/)
  t.regex((await serving.command('info')).stdout, /^state +Created/, 'a boot that fails changes nothing')
  t.is((await serving.command('delete')).exitCode, 0)
  const bodyFromInput = await execa(
    process.execPath,
    [program, '--api-socket', `path=${serving.socket}`, 'create', '-'],
    {
      input: JSON.stringify(machine),
    },
  )
  t.is(bodyFromInput.exitCode, 0)
  t.is((await serving.command('shutdown-vmm')).exitCode, 0)
  if (started.exitCode === null) await once(started, 'exit')
  t.is(started.exitCode, 0)
  t.is(serving.stderr, '')
  t.false(existsSync(serving.socket))
  t.false(existsSync(`${serving.socket}.lock`))
})

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  test.serial(`${signal} ends it and leaves nothing behind`, async t => {
    await using serving = new Serving()
    await serving.start()
    t.is(statSync(serving.socket).mode & 0o777, 0o600)
    t.is(await serving.end(signal), 0)
    t.false(existsSync(serving.socket))
    t.false(existsSync(`${serving.socket}.lock`))
  })
}

test.serial('one that was killed is followed by another, one that lives is not', async t => {
  await using serving = new Serving()
  await serving.start()
  const second = await execa(process.execPath, [program, '--api-socket', serving.socket], { reject: false })
  t.is(second.exitCode, 1)
  t.is(second.stderr, `tsvmm: error: --api-socket ${serving.socket}: another server is listening on it`)
  t.is((await serving.command('ping')).exitCode, 0)
  await serving.end('SIGKILL')
  t.true(existsSync(serving.socket))
  const orphan = await serving.command('ping')
  t.is(orphan.stderr, `tsvmm: error: --api-socket ${serving.socket}: nobody is listening`)
  await serving.start()
  t.is((await serving.command('ping')).exitCode, 0)
})

test.serial('a machine on the command line that cannot boot ends the program, and its socket', async t => {
  await using serving = new Serving()
  const run = await execa(
    process.execPath,
    [program, '--api-socket', serving.socket, '--kvm', '/dev/null', '--kernel', '/nowhere/vmlinux'],
    { reject: false },
  )
  t.is(run.exitCode, 1)
  t.regex(run.stderr, /^tsvmm: error: .*\/dev\/null/)
  t.false(existsSync(serving.socket))
})

test.serial('it serves a descriptor that listens already, and leaves its socket alone', async t => {
  await using serving = new Serving()
  const giver = createServer()
  const made = serving.path('made.sock')
  await once(giver.listen(made), 'listening')
  // Closing here removes what was made here, under its name of then.
  renameSync(made, serving.socket)
  const handle: unknown = Reflect.get(giver, '_handle')
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined
  if (typeof fd !== 'number') throw new Error('a listening server has a descriptor')
  const started = serving.start(['--api-socket', 'fd=3'], [fd])
  giver.close()
  const { pid } = await started
  t.regex((await serving.command('ping')).stdout, new RegExp(`process ${pid}$`))
  t.is(await serving.end('SIGTERM'), 0)
  t.true(existsSync(serving.socket))
})

test.serial('a monitor is told from start to end, and need not be there yet', async t => {
  await using serving = new Serving()
  const fifo = serving.path('events')
  execFileSync('mkfifo', [fifo])
  await serving.start(['--api-socket', serving.socket, '--event-monitor', `path=${fifo}`])
  const reader = execa('cat', [fifo])
  // What nobody has begun to read is lost with the last who has the FIFO open.
  await once(reader.stdout, 'data')
  t.is(await serving.end('SIGTERM'), 0)
  const events = (await reader).stdout.trim().split('\n\n')
  t.deepEqual(
    events.map(text => {
      const { source, event, properties } = JSON.parse(text)
      return [source, event, properties]
    }),
    [
      ['vmm', 'starting', null],
      ['vmm', 'shutdown', null],
    ],
  )
})

test.serial('the log tells what clients asked for', async t => {
  await using serving = new Serving()
  const log = serving.path('log')
  await serving.start(['--api-socket', serving.socket, '-vv', '--log-file', log])
  await serving.command('boot')
  await serving.end('SIGTERM')
  const text = readFileSync(log, 'utf8')
  t.regex(text, /INFO: serving the API on /)
  t.regex(text, /DEBUG: api: PUT \/api\/v1\/vm\.boot: 404 in [\d.]+ ms/)
})
