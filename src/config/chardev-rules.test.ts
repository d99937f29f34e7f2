import test, { type ExecutionContext } from 'ava'
import { settled } from './settle.ts'
import { parseVmConfig, type VmConfigInput } from './vm-config.ts'

type Chardevs = Pick<VmConfigInput, 'serial' | 'console' | 'debug_console'>

const configOf = (chardevs: Chardevs) => parseVmConfig({ payload: { kernel: '/k' }, ...chardevs })

function refuses(t: ExecutionContext, chardevs: Chardevs, message: string): void {
  t.throws(() => configOf(chardevs), { code: 'ERR_CONFIG_INVALID', message })
}

test('a path goes with the mode that needs it, and with no other', t => {
  refuses(t, { serial: { mode: 'File' } }, '--serial: file: a path is missing')
  refuses(t, { serial: { mode: 'Socket' } }, '--serial: socket: a path is missing')
  refuses(t, { serial: { mode: 'Tty', file: '/a' } }, '--serial: file: does not go with mode Tty')
  refuses(t, { serial: { mode: 'Pty', socket: '/a' } }, '--serial: socket: does not go with mode Pty')
  refuses(t, { serial: { mode: 'File', file: '/a', socket: '/b' } }, '--serial: socket: does not go with mode File')
})

test('what is told of a pseudo terminal is nothing to ask for', t => {
  const config = configOf({ serial: { mode: 'Pty', file: '/dev/pts/3' }, console: { mode: 'Pty', file: '/dev/pts/4' } })
  t.deepEqual([config.serial, config.console], [{ mode: 'Pty' }, { mode: 'Pty' }])
  t.deepEqual(settled(config).console, { mode: 'Pty', pci_device_id: 1 }, 'each is another one every time')
})

test('one terminal, file or socket has one owner', t => {
  const tty = { mode: 'Tty' } as const
  refuses(t, { serial: tty }, '--console: tty: the terminal is taken by --serial tty; use --console off')
  refuses(t, { debug_console: tty }, '--debug-console: tty: the terminal is taken by --console tty; use --console off')
  const off = { mode: 'Off' } as const
  const both = { serial: tty, console: off, debug_console: tty }
  refuses(t, both, '--debug-console: tty: the terminal is taken by --serial tty')
  const file = { mode: 'File', file: '/a' } as const
  refuses(t, { serial: file, console: { mode: 'File', file: '/./a' } }, '--console: file: /./a is taken by --serial')
  t.notThrows(() => configOf({ serial: { mode: 'Pty' }, console: { mode: 'Pty' }, debug_console: { mode: 'Pty' } }))
})

test('the debug console is a port', t => {
  t.is(configOf({ debug_console: { mode: 'Null' } }).debug_console.iobase, 0xe9)
  for (const iobase of [0, 0x1_0000]) {
    refuses(t, { debug_console: { mode: 'Null', iobase } }, `--debug-console: iobase: ${iobase} is not in 1..65535`)
  }
})
