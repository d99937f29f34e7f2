import { once } from 'node:events'
import { existsSync, mkdtempSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { execa } from 'execa'
import { outputLimitBytes } from './output-limit.ts'
import { SocketChardev } from './socket-chardev.ts'

const folder = mkdtempSync(join(tmpdir(), 'tsvmm-socket-'))

async function until(isReached: () => boolean): Promise<void> {
  while (!isReached()) await sleep(5)
}

/** A client that is connected and served. */
async function aClient(chardev: SocketChardev): Promise<{ socket: Socket; read: () => string }> {
  const socket = connect({ path: chardev.path, allowHalfOpen: true })
  socket.on('error', () => {})
  let read = ''
  socket.on('data', bytes => {
    read += bytes
  })
  await once(socket, 'connect')
  // Output without a client is dropped, so that the first that arrives tells that it is taken.
  while (read === '') {
    chardev.write(Buffer.from('.'))
    await sleep(5)
  }
  return { socket, read: () => read.replace(/^\.+/, '') }
}

test('bytes pass both ways, and the socket goes with the machine', async t => {
  const path = join(folder, 'both')
  const chardev = await SocketChardev.open('--serial', path)
  let typed = ''
  chardev.onInput(bytes => {
    typed += Buffer.from(bytes).toString()
  })
  const client = await aClient(chardev)
  chardev.write(Buffer.from('login: '))
  client.socket.write('root\n')
  await until(() => client.read() === 'login: ' && typed === 'root\n')
  await chardev.close()
  await chardev.close()
  t.false(existsSync(path))
  await until(() => client.socket.readableEnded || client.socket.destroyed)
  t.notThrows(() => chardev.write(Buffer.from('late')))
})

test('only its owner may connect, whatever the mask', async t => {
  const chardev = await SocketChardev.open('--serial', join(folder, 'mode'))
  t.is(statSync(chardev.path).mode & 0o777, 0o600)
  await chardev.close()
  // A worker, as tests are, has no mask of its own to set.
  const { stdout } = await execa({ input: program })(process.execPath, ['--input-type=module', '-', folder])
  t.is(stdout, '600 0')
})

const program = `
  import { statSync } from 'node:fs'
  import { SocketChardev } from ${JSON.stringify(new URL('socket-chardev.ts', import.meta.url).pathname)}
  process.umask(0)
  const chardev = await SocketChardev.open('--serial', process.argv[2] + '/main')
  console.log((statSync(chardev.path).mode & 0o777).toString(8), process.umask().toString(8))
  await chardev.close()
`

test('a new client takes the place of the one before', async t => {
  const chardev = await SocketChardev.open('--serial', join(folder, 'second'))
  chardev.onInput(() => {})
  const first = await aClient(chardev)
  const second = await aClient(chardev)
  await until(() => first.socket.readableEnded || first.socket.destroyed)
  chardev.write(Buffer.from('to the second'))
  await until(() => second.read() === 'to the second')
  t.false(first.read().includes('second'))
  await chardev.close()
})

test('a client that has said all it wants still gets the output', async t => {
  const chardev = await SocketChardev.open('--serial', join(folder, 'half'))
  let typed = ''
  chardev.onInput(bytes => {
    typed += Buffer.from(bytes).toString()
  })
  const client = await aClient(chardev)
  client.socket.end('poweroff\n')
  await until(() => typed === 'poweroff\n')
  await sleep(20)
  chardev.write(Buffer.from('System halted'))
  await until(() => client.read() === 'System halted')
  t.pass()
  await chardev.close()
})

test('input waits while it is not wanted', async t => {
  const chardev = await SocketChardev.open('--serial', join(folder, 'pressure'))
  let received = 0
  chardev.onInput(bytes => {
    received += bytes.length
    chardev.setInputWanted(false)
  })
  const client = await aClient(chardev)
  client.socket.write(Buffer.alloc(8 * 1024 * 1024))
  await until(() => received > 0)
  await sleep(50)
  t.true(received < 1024 * 1024, `${received} bytes`)
  chardev.onInput(bytes => {
    received += bytes.length
  })
  chardev.setInputWanted(true)
  await until(() => received === 8 * 1024 * 1024)
  await chardev.close()
})

test('a client that does not read is bounded', async t => {
  const chardev = await SocketChardev.open('--serial', join(folder, 'slow'))
  const client = await aClient(chardev)
  client.socket.pause()
  const block = Buffer.alloc(65536, 'x')
  for (let round = 0; round < 100; round += 1) chardev.write(block)
  chardev.write(Buffer.from('newest'))
  client.socket.resume()
  await until(() => client.read().endsWith('newest'))
  t.true(client.read().length <= outputLimitBytes + 16 * block.length)
  await chardev.close()
})

test('a socket left by a process that died is replaced', async t => {
  const path = join(folder, 'stale')
  const script = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
  await execa(process.execPath, ['-e', script, path], { reject: false })
  t.true(existsSync(path))
  const chardev = await SocketChardev.open('--serial', path)
  await aClient(chardev)
  await chardev.close()
})

test('a path that something else has is refused and left alone', async t => {
  const used = join(folder, 'used')
  const server = createServer().listen(used)
  await once(server, 'listening')
  const refuses = (path: string, reason: string) =>
    t.throwsAsync(SocketChardev.open('--serial', path), {
      code: 'ERR_CHARDEV',
      message: `--serial ${path}: ${reason}`,
    })
  await refuses(used, 'another process listens there')
  const file = join(folder, 'file')
  writeFileSync(file, 'precious')
  await refuses(file, 'exists and is no socket')
  t.true(existsSync(file) && existsSync(used))
  await refuses(join(folder, 'no', 'socket'), 'no such directory')
  await refuses(join(folder, 'x'.repeat(120)), 'longer than 107 bytes')
  server.close()
})
