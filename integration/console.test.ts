import { closeSync, constants, openSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { ReadStream, WriteStream } from 'node:tty'
import test from 'ava'
import { execa } from 'execa'
import { ApiClient } from './harness/api-client.ts'
import { debianKernel } from './harness/artifacts.ts'
import { GuestConsole } from './harness/guest-console.ts'
import { TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const program = new URL('../dist/tsvmm', import.meta.url).pathname
/** Its keys are looked through, as those of a terminal are. */
const asPerson = { env: { TSVMM_TERMINAL: '1' }, reject: false, buffer: false } as const

/** A small guest with a login on every console. Its kernel takes the port of the debug console for a serial one. */
function flags(socket: string): string[] {
  const commandLine = 'console=ttyS0 earlyprintk=serial,0xe9,115200 quiet'
  return [...debianKernel.flags(commandLine), ...['--memory', 'size=256M', '--api-socket', socket]]
}

/** A program that opens a pseudo terminal by its name, as minicom does. */
class TerminalClient implements Disposable {
  readonly console: GuestConsole
  readonly #input: ReadStream
  readonly #output: WriteStream

  constructor(path: string) {
    const open = () => openSync(path, constants.O_RDWR | constants.O_NOCTTY)
    this.#input = new ReadStream(open())
    this.#output = new WriteStream(open())
    this.console = new GuestConsole(this.#input, this.#output)
  }

  [Symbol.dispose](): void {
    this.#input.destroy()
    this.#output.destroy()
  }
}

async function terminalOf(client: ApiClient, section: 'serial' | 'console'): Promise<string> {
  const { json } = await client.get('/vm.info')
  const config: unknown = Reflect.get(Object(json), 'config')
  return String(Reflect.get(Object(Reflect.get(Object(config), section)), 'file'))
}

test.serial('pseudo terminals take logins and text, clients come and go, and a debug console takes text', async t => {
  using workspace = new Workspace()
  const [socket, debugLog] = [workspace.path('api'), workspace.path('debug.log')]
  await using vm = new TsvmmProcess([
    ...flags(socket),
    ...['--serial', 'pty', '--console', 'pty', '--debug-console', `file=${debugLog}`],
  ])
  const client = new ApiClient(socket)
  await client.becomes('Running')
  const [serialPath, consolePath] = [await terminalOf(client, 'serial'), await terminalOf(client, 'console')]
  t.regex(serialPath, /^\/dev\/pts\/\d+$/)
  t.not(serialPath, consolePath)
  {
    using serial = new TerminalClient(serialPath)
    await serial.console.logIn()
    using other = new TerminalClient(consolePath)
    other.console.type('\n')
    await other.console.logIn()
    t.is(await other.console.check('tty'), '/dev/hvc0')
    t.regex(readFileSync(debugLog, 'latin1'), /Linux version/)
  }
  const machine = String(vm.pid)
  const { stdout } = await execa(program, ['ps', '--json'])
  t.like(JSON.parse(stdout), [
    { pid: vm.pid, state: 'running', consoles: { serial: serialPath, console: consolePath } },
  ])
  {
    const attached = execa(program, ['console', machine, '--port', 'console'], asPerson)
    const seen = new GuestConsole(attached.stdout, attached.stdin)
    seen.type('\n')
    t.is(await seen.check('echo attached'), 'attached')
    attached.stdin.write('\x01x')
    t.is((await attached).exitCode, 0)
  }
  using again = new TerminalClient(serialPath)
  t.is(await again.console.check('echo again'), 'again')
  await client.change('/vm.reboot')
  await again.console.logIn()
  t.is(await terminalOf(client, 'serial'), serialPath, 'a reboot keeps it')
  again.console.type('poweroff\n')
  const { exitCode, stderr } = await vm.exit()
  t.is(exitCode, 0, stderr)
  t.true(stderr.includes(`--serial is ${serialPath}\n`), stderr)
  t.throws(() => closeSync(openSync(serialPath, constants.O_RDWR | constants.O_NOCTTY)))
})

test.serial('the serial port on a socket serves the newest client', async t => {
  using workspace = new Workspace()
  const [socket, serialPath] = [workspace.path('api'), workspace.path('serial')]
  await using vm = new TsvmmProcess([...flags(socket), ...['--serial', `socket=${serialPath}`, '--console', 'off']])
  await new ApiClient(socket).becomes('Running')
  const first = execa(program, ['console', String(vm.pid)], asPerson)
  await new GuestConsole(first.stdout, first.stdin).logIn()
  await using second = connect(serialPath)
  const newest = new GuestConsole(second, second)
  t.is(await newest.check('echo newest'), 'newest')
  t.is((await first).exitCode, 0, 'it was let go')
  newest.type('poweroff\n')
  const { exitCode, stderr } = await vm.exit()
  t.is(exitCode, 0, stderr)
  t.throws(() => readFileSync(serialPath), { code: 'ENOENT' })
})
