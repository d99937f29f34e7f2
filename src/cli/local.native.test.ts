import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { execa } from 'execa'
import { ServedVmm } from '../api/testing/served-vmm.ts'
import { PtyChardev } from '../backends/pty-chardev.native.ts'
import { SocketChardev } from '../backends/socket-chardev.ts'
import { Registration } from '../vmm/registry.native.ts'
import { program, Serving } from './testing/serving.ts'

const machine = {
  ...{ payload: { kernel: '/nowhere/vmlinux' }, cpus: { boot_vcpus: 3 } },
  serial: { mode: 'Socket', socket: '/nowhere/serial' },
}

test.serial('ps and top know the machines that are there', async t => {
  await using serving = new Serving()
  t.is((await serving.run('ps', '--json')).stdout, '[]')
  const { pid } = await serving.start()
  const listed = async () => JSON.parse((await serving.run('ps', '--json')).stdout)
  t.like(await listed(), [{ pid, state: 'absent', socket: serving.socket, consoles: {} }])
  writeFileSync(serving.path('vm.json'), JSON.stringify(machine))
  await serving.command('create', serving.path('vm.json'))
  t.like(await listed(), [
    {
      state: 'created',
      vcpus: 3,
      memory_bytes: 2 ** 29,
      boots: '/nowhere/vmlinux',
      consoles: { serial: '/nowhere/serial' },
    },
  ])
  t.regex((await serving.run('ps')).stdout, new RegExp(`^MACHINE .*\n${pid} +created +3 +512 MiB +`))

  for (const which of [['top'], ['top', `${pid}`], ['top', serving.socket], ['--api-socket', serving.socket, 'top']]) {
    const { stdout, exitCode } = await serving.run(...which, '--interval', '0.1')
    t.regex(stdout, new RegExp(`^MACHINE .*\n${pid} +machine +created +`), which.join(' '))
    t.is(exitCode, 0)
  }
  const words = async (...typed: readonly string[]) => (await serving.run('completion', 'words', '--', ...typed)).stdout
  t.is(await words('top', ''), `${pid}`)
  t.is(await words('console', '--port', 's'), 'serial')
  const lines = execa(process.execPath, [program, 'top', '--json', '--interval', '0.1'], {
    ...{ env: serving.environment, stdin: 'ignore', reject: false },
  })
  const seen: unknown[] = []
  for await (const line of lines) {
    seen.push(JSON.parse(line))
    if (seen.length === 2) await serving.end('SIGKILL')
  }
  t.is((await lines).exitCode, 0)
  t.like(seen[1], { machine: `${pid}`, state: 'created', devices: {} })
  t.is((await serving.run('ps', '--json')).stdout, '[]')
})

test.serial('what is asked for wrongly is refused in a line', async t => {
  await using serving = new Serving()
  const refused = async (args: readonly string[], exitCode: number, message: string) => {
    const { stderr, exitCode: code } = await serving.run(...args)
    t.deepEqual([stderr, code], [`tsvmm: error: ${message}`, exitCode])
  }
  const hint = 'tsvmm ps lists the machines of this host'
  await refused(['top'], 1, `there is no machine: ${hint}`)
  await refused(['console'], 1, `there is no machine: ${hint}`)
  await refused(['top', '4711'], 1, `there is no machine 4711: ${hint}`)
  await refused(['top', '--interval', '0'], 2, '--interval: 0 is not 0.1 to 3600 seconds')
  await refused(['--api-socket', 's', 'top', '7'], 2, 'top: takes 7 or --api-socket, not both')
  await refused(['--api-socket', 's', 'ps'], 2, '--api-socket: does not go with the command ps')
  await refused(['--kernel', 'k', 'console'], 2, '--kernel: does not go with the command console')
  const devices = 'serial, console, debug-console'
  await refused(['console', '--port', 'screen'], 2, `--port: screen is none of ${devices}`)
  const entry = { pid: process.pid, started: new Date().toISOString(), state: 'running', consoles: {} } as const
  using _first = new Registration(serving.environment.TSVMM_RUNTIME_DIR, { ...entry, clone: 0 })
  const closed = 'is not to be connected with: --api-socket, pty or socket=PATH would let you'
  await refused(['console'], 1, `console: the machine ${closed}`)
  await refused(['console', '--port', 'serial'], 1, `console: serial ${closed}`)
  using _second = new Registration(serving.environment.TSVMM_RUNTIME_DIR, { ...entry, clone: 1 })
  await refused(['console'], 1, `console: which of 2 machines: ${hint}`)
})

test.serial('a console that has no place of its own is reached through the API', async t => {
  await using serving = new Serving()
  await using served = await ServedVmm.start()
  const { stderr, exitCode } = await serving.run('--api-socket', served.socketPath, 'console')
  t.regex(stderr, /^tsvmm: error: vm\.info: .*there is no machine/)
  t.is(exitCode, 1)
  await served.put('/vm.create', { payload: { kernel: 'k' } })
  const refused = await serving.run('--api-socket', served.socketPath, 'console')
  t.deepEqual(
    [refused.stderr, refused.exitCode],
    [...['tsvmm: error: console: the machine is not running: boot it first', 1]],
  )
  await served.put('/vm.boot')
  const { chardev } = served.machines.serial
  const heard = Promise.withResolvers<string>()
  chardev.onInput(bytes => heard.resolve(Buffer.from(bytes).toString()))
  chardev.write(Buffer.from('login: '))
  const client = execa(process.execPath, [program, 'console', served.socketPath, '--port', 'serial'], {
    ...{ env: { ...serving.environment, TSVMM_TERMINAL: '1' }, reject: false },
  })
  t.is(String(await new Promise(resolve => client.stdout.once('data', resolve))), 'login: ')
  client.stdin.write('root\n')
  t.is(await heard.promise, 'root\n')
  client.stdin.write('\x01x')
  t.deepEqual([(await client).exitCode, (await client).stderr], [0, ''])
})

for (const kind of ['pty', 'socket'] as const) {
  test.serial(`a person types into a machine through a ${kind}, and leaves it`, async t => {
    await using serving = new Serving()
    const path = join(serving.folder, 'serial.sock')
    const chardev = kind === 'pty' ? PtyChardev.open('--serial') : await SocketChardev.open('--serial', path)
    t.teardown(() => chardev.close())
    const heard = Promise.withResolvers<string>()
    chardev.onInput(bytes => heard.resolve(Buffer.from(bytes).toString()))
    const entry = { pid: process.pid, started: new Date().toISOString(), state: 'running' } as const
    const consoles = { console: '/nowhere', serial: chardev.path }
    using _entry = new Registration(serving.environment.TSVMM_RUNTIME_DIR, { ...entry, consoles })
    const client = execa(process.execPath, [program, 'console', `${process.pid}`], {
      ...{ env: { ...serving.environment, TSVMM_TERMINAL: '1' }, reject: false },
    })
    client.stdin.write('ls\n')
    t.is(await heard.promise, 'ls\n')
    const answered = new Promise(resolve => client.stdout.once('data', resolve))
    chardev.write(Buffer.from('bin boot\r\n'))
    t.is(String(await answered), 'bin boot\r\n')
    client.stdin.write('\x01x')
    const { exitCode, stderr } = await client
    t.deepEqual([exitCode, stderr], [0, ''])
  })

  test.serial(`a ${kind} whose machine ends lets everybody go`, async t => {
    await using serving = new Serving()
    const path = join(serving.folder, 'serial.sock')
    const chardev = kind === 'pty' ? PtyChardev.open('--serial') : await SocketChardev.open('--serial', path)
    const heard = Promise.withResolvers<void>()
    chardev.onInput(() => heard.resolve())
    const entry = { pid: process.pid, started: new Date().toISOString(), state: 'running' } as const
    using _entry = new Registration(serving.environment.TSVMM_RUNTIME_DIR, {
      ...entry,
      consoles: { serial: chardev.path },
    })
    const client = execa(process.execPath, [program, 'console'], { env: serving.environment, reject: false })
    client.stdin.write('x')
    await heard.promise
    await chardev.close()
    t.is((await client).exitCode, 0)
  })
}
