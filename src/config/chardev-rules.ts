import { resolve } from 'node:path'
import { fail } from './checks.ts'
import type { ChardevConfig, VmConfig } from './vm-config.ts'

const lastPort = 0xffff

type Chardevs = Pick<VmConfig, 'serial' | 'console' | 'debug_console'>

/** The serial port and the consoles by the flags that describe them. */
export function chardevsOf({
  serial,
  console,
  debug_console,
}: Chardevs): readonly (readonly [string, ChardevConfig])[] {
  return [
    ['--serial', serial],
    ['--console', console],
    ['--debug-console', debug_console],
  ]
}

/** What of the host only one of them can have; undefined where others may have it as well. */
export function targetOf({ mode, file = '', socket = '' }: ChardevConfig): string | undefined {
  if (mode === 'Tty') return 'tty'
  if (mode === 'File') return `file ${resolve(file)}`
  return mode === 'Socket' ? `socket ${resolve(socket)}` : undefined
}

/**
 * A pseudo terminal is another one each time, though a running machine's configuration tells clients its name in `file`: such a name
 * means nothing in the configuration of the next.
 */
export function withoutTerminals<C extends Chardevs>(config: C): C {
  const { serial, console, debug_console } = config
  return {
    ...config,
    serial: withoutTerminal(serial),
    console: withoutTerminal(console),
    debug_console: withoutTerminal(debug_console),
  }
}

function withoutTerminal<C extends ChardevConfig>(chardev: C): C {
  if (chardev.mode !== 'Pty' || chardev.file === undefined) return chardev
  const nameless = { ...chardev }
  delete nameless.file
  return nameless
}

/** Throws ERR_CONFIG_INVALID naming flag and key. */
export function checkChardevs(config: Chardevs): void {
  const taken = new Map<string, string>()
  for (const [flag, chardev] of chardevsOf(config)) {
    checkPath(flag, 'file', chardev.mode === 'File', chardev)
    checkPath(flag, 'socket', chardev.mode === 'Socket', chardev)
    const target = targetOf(chardev)
    if (target === undefined) continue
    const owner = taken.get(target)
    if (owner !== undefined) refuseTaken(flag, chardev, owner)
    taken.set(target, flag)
  }
  const { iobase } = config.debug_console
  if (iobase < 1 || iobase > lastPort) fail('--debug-console', `iobase: ${iobase} is not in 1..${lastPort}`)
}

function checkPath(flag: string, key: 'file' | 'socket', isNeeded: boolean, chardev: ChardevConfig): void {
  const path = chardev[key]
  if (isNeeded && path === undefined) fail(flag, `${key}: a path is missing`)
  if (!isNeeded && path !== undefined) fail(flag, `${key}: does not go with mode ${chardev.mode}`)
}

function refuseTaken(flag: string, { mode, file, socket }: ChardevConfig, owner: string): never {
  if (mode !== 'Tty') fail(flag, `${mode.toLowerCase()}: ${file ?? socket} is taken by ${owner}`)
  const hint = [flag, owner].includes('--console') ? '; use --console off' : ''
  fail(flag, `tty: the terminal is taken by ${owner} tty${hint}`)
}
