import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { ReadStream } from 'node:tty'
import test from 'ava'
import { execaSync } from 'execa'
import { addon } from '../native/addon.ts'
import { PtyChardev } from './pty-chardev.native.ts'

async function until(isReached: () => boolean): Promise<void> {
  while (!isReached()) await sleep(5)
}

test('a client opens the path and finds a raw terminal; bytes pass both ways', async t => {
  const chardev = PtyChardev.open('--serial')
  let typed = ''
  chardev.onInput(bytes => {
    typed += Buffer.from(bytes).toString('latin1')
  })
  const client = openSync(chardev.path, 'r+')
  t.true(execaSync('stty', ['-F', chardev.path, '-a']).stdout.includes('-icanon'))
  writeSync(client, 'root\r\x03')
  await until(() => typed === 'root\r\x03')
  chardev.write(Buffer.from('login: \r\n'))
  const buffer = Buffer.alloc(64)
  t.is(buffer.toString('latin1', 0, readSync(client, buffer)), 'login: \r\n')
  closeSync(client)
  await chardev.close()
  await chardev.close()
  t.throws(() => openSync(chardev.path, 'r+'))
  t.notThrows(() => chardev.write(Buffer.from('late')))
})

test('clients come and go, and output waits for the first', async t => {
  const chardev = PtyChardev.open('--serial')
  let typed = ''
  chardev.onInput(bytes => {
    typed += Buffer.from(bytes).toString()
  })
  chardev.write(Buffer.from('early'))
  for (const key of ['a', 'b']) {
    const client = openSync(chardev.path, 'r+')
    writeSync(client, key)
    await until(() => typed.endsWith(key))
    if (key === 'a') {
      const buffer = Buffer.alloc(64)
      t.is(buffer.toString('latin1', 0, readSync(client, buffer)), 'early')
    }
    closeSync(client)
  }
  t.is(typed, 'ab')
  await chardev.close()
})

test('without a client output neither blocks nor grows, and the newest of it waits', async t => {
  const chardev = PtyChardev.open('--serial')
  const block = Buffer.alloc(65536, 'x')
  for (let round = 0; round < 64; round += 1) chardev.write(block)
  chardev.write(Buffer.from('newest'))
  // No stream: a worker of Node's closes what it has opened once more at its end, and the number may be somebody else's then.
  const client = openSync(chardev.path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK)
  let [last, length] = ['', 0]
  const chunk = Buffer.alloc(65536)
  const read = () => {
    try {
      for (let count = readSync(client, chunk); count > 0; count = readSync(client, chunk)) {
        length += count
        last = (last + chunk.toString('latin1', 0, count)).slice(-6)
      }
    } catch (error) {
      t.like(error, { code: 'EAGAIN' })
    }
    return last
  }
  await until(() => read() === 'newest')
  t.true(length <= 2 * 1024 * 1024, `${length} bytes`)
  closeSync(client)
  await chardev.close()
})

/** Runs the terminal child on a pseudo terminal. */
async function aTerminal() {
  const { masterFd, path } = addon().openPty()
  const slaveFd = openSync(path, 'r+')
  execaSync('stty', ['-F', path, 'sane', 'columns', '100', 'rows', '30'])
  const program = new URL('testing/terminal-child.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [program], { stdio: [slaveFd, slaveFd, 'pipe'] })
  const exit = once(child, 'exit')
  let [told, shown] = ['', '']
  child.stderr?.on('data', bytes => {
    told += bytes
  })
  const master = new ReadStream(masterFd)
  master.on('error', () => {})
  master.on('data', bytes => {
    shown += bytes.toString('latin1')
  })
  await until(() => told.includes('ready\n'))
  const isRaw = () => execaSync('stty', ['-F', path, '-a']).stdout.includes('-icanon')
  return {
    ...{ child, exit, path, master, isRaw },
    type: (text: string) => writeSync(masterFd, Buffer.from(text, 'latin1')),
    told: () => told,
    shown: () => shown,
    close: async () => {
      child.kill('SIGKILL')
      await exit
      master.destroy()
      closeSync(slaveFd)
    },
  }
}

test('a terminal is raw while the console has it: the guest gets every key', async t => {
  const terminal = await aTerminal()
  t.true(terminal.isRaw())
  terminal.type('\x03\x04\x1a\r')
  await until(() => terminal.shown().length >= 6)
  t.is(terminal.shown(), '[\x03\x04\x1a\r]')
  terminal.type('\x01b')
  await until(() => terminal.shown().endsWith('<break>'))
  execaSync('stty', ['-F', terminal.path, 'columns', '132', 'rows', '50'])
  terminal.child.kill('SIGWINCH')
  await until(() => terminal.shown().endsWith('<132x50>'))
  terminal.type('\x01x')
  await until(() => terminal.told().endsWith('ended\n'))
  t.false(terminal.isRaw())
  await terminal.exit
  await terminal.close()
})

for (const way of ['throw', 'exit', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const) {
  test(`a terminal has its own settings back after ${way}`, async t => {
    const terminal = await aTerminal()
    t.true(terminal.isRaw())
    if (way === 'throw' || way === 'exit') terminal.type(way)
    else terminal.child.kill(way)
    const [exitCode, signal] = await terminal.exit
    t.false(terminal.isRaw())
    if (way === 'throw') t.is(exitCode, 1)
    else if (way === 'exit') t.is(exitCode, 3)
    else t.is(signal, way)
    await terminal.close()
  })
}

test('a terminal that stands still does not stop the machine', async t => {
  const terminal = await aTerminal()
  terminal.master.pause()
  terminal.type('flood')
  await until(() => terminal.told().endsWith('flooded\n'))
  t.pass()
  await terminal.close()
})
