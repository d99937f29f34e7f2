import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { settled } from '../config/settle.ts'
import { parseVmConfig, type VmConfigInput } from '../config/vm-config.ts'
import { buildMachine } from './build.ts'
import { unheard } from './testing/unheard.ts'

type Chardevs = Pick<VmConfigInput, 'serial' | 'console' | 'debug_console'>

function machineWith(chardevs: Chardevs) {
  const memory = { size: 64 * 1024 * 1024 }
  return buildMachine(settled(parseVmConfig({ payload: { kernel: '/nowhere' }, memory, ...chardevs })), unheard)
}

/** Of this process: a process that another test begins has them until it becomes another program. */
function isOpen(path: string): boolean {
  return readdirSync('/proc/self/fd').some(fd => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path
    } catch {
      return false
    }
  })
}

test('each pseudo terminal is its own, and gone with the machine', async t => {
  const pty = { mode: 'Pty' } as const
  const machine = await machineWith({ serial: pty, console: pty, debug_console: pty })
  t.deepEqual([...machine.terminals.keys()], ['serial', 'debug_console', 'console'])
  const paths = new Set(machine.terminals.values())
  t.is(paths.size, 3)
  for (const path of paths) t.true(isOpen(path), path)
  await machine.components.close()
  for (const path of paths) t.false(isOpen(path), path)
})

test('a client of the serial port connects to its socket', async t => {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-chardevs-'))
  t.teardown(() => rmSync(place, { recursive: true }))
  const socket = join(place, 'serial')
  const machine = await machineWith({ serial: { mode: 'Socket', socket }, console: { mode: 'Off' } })
  t.is(machine.terminals.size, 0)
  const client = connect(socket)
  await new Promise((resolve, reject) => client.once('connect', resolve).once('error', reject))
  client.destroy()
  await machine.components.close()
  t.deepEqual(readdirSync(place), [])
})

test('a debug console is where nothing else is', async t => {
  const chardevs = { console: { mode: 'Off' }, debug_console: { mode: 'Null', iobase: 0x3f9 } } as const
  await t.throwsAsync(machineWith(chardevs), {
    code: 'ERR_CONFIG_INVALID',
    message: '--debug-console: iobase: something else is at port 1017',
  })
  const alone = await machineWith({ ...chardevs, serial: { mode: 'Off' } })
  await alone.components.close()
})
