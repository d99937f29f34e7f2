import { once } from 'node:events'
import test from 'ava'
import { WebSocket } from 'ws'
import { RawClient } from './testing/raw-client.ts'
import { ServedVmm } from './testing/served-vmm.ts'

/** A client of the console that keeps what it hears. */
class ConsoleClient implements Disposable {
  readonly socket: WebSocket
  text = ''
  closed: { code: number; reason: string } | undefined
  #changed: () => void = () => {}

  constructor(served: ServedVmm, query = '') {
    this.socket = new WebSocket(`ws+unix:${served.socketPath}:/api/v1/tsvmm.console${query}`)
    this.socket.on('error', () => {})
    this.socket.on('message', (data: Buffer) => {
      this.text += data.toString()
      this.#changed()
    })
    this.socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() }
      this.#changed()
    })
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>(resolve => {
        this.#changed = resolve
      })
    }
  }

  [Symbol.dispose](): void {
    this.socket.terminate()
  }
}

const config = { payload: { kernel: 'k' } }

async function aRunningVm(): Promise<ServedVmm> {
  const served = await ServedVmm.start()
  await served.put('/vm.create', config)
  await served.put('/vm.boot')
  return served
}

test('clients hear the guest from what it said last on, and type', async t => {
  await using served = await aRunningVm()
  const { serial } = served.machines
  let typed = ''
  const heard = Promise.withResolvers<void>()
  serial.chardev.onInput(bytes => {
    typed += Buffer.from(bytes).toString()
    if (typed.length === 8) heard.resolve()
  })
  serial.chardev.write(Buffer.from('login: '))
  using first = new ConsoleClient(served)
  using second = new ConsoleClient(served, '?port=serial')
  for (const client of [first, second]) await client.until(() => client.text === 'login: ')
  first.socket.send('root')
  // It has been read by then.
  const answered = once(first.socket, 'pong')
  first.socket.ping()
  await answered
  second.socket.send(Buffer.from('pass'))
  await heard.promise
  t.is(typed, 'rootpass')
  serial.chardev.write(Buffer.from('$ '))
  for (const client of [first, second]) await client.until(() => client.text === 'login: $ ')
  t.is((await served.get('/vmm.ping')).status, 200, 'requests are answered meanwhile')
})

test('what cannot be joined says why', async t => {
  await using served = await ServedVmm.start()
  const refused = async (query: string, reason: string) => {
    using client = new ConsoleClient(served, query)
    await client.until(() => client.closed !== undefined)
    t.deepEqual(client.closed, { code: 1008, reason })
  }
  await refused('', 'the machine is not running: boot it first')
  await served.put('/vm.create', config)
  await served.put('/vm.boot')
  await refused('?port=screen', 'port: screen is no console')
  await refused('?port=debug-console', 'console: the machine has no debug console')
})

test('a reason that is too long for a close frame ends between two characters', async t => {
  await using served = await ServedVmm.start()
  using client = new ConsoleClient(served, `?port=x${'%E2%82%AC'.repeat(60)}`)
  await client.until(() => client.closed !== undefined)
  t.deepEqual(client.closed, { code: 1008, reason: `port: x${'€'.repeat(38)}` })
})

test('a client that breaks the protocol after it was refused ends its connection only', async t => {
  await using served = await ServedVmm.start()
  using client = new RawClient(served.socketPath)
  const key = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'
  client.send(`GET /api/v1/tsvmm.console HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${key}\r\n`)
  await client.expect(/boot it first/)
  // RFC 6455 §5.1: a frame of a client is masked.
  client.send('\x81\x01a')
  await client.rest()
  t.is((await served.get('/vmm.ping')).status, 200)
})

test('the end of the machine, and of the server, lets clients go', async t => {
  await using served = await aRunningVm()
  using first = new ConsoleClient(served)
  await once(first.socket, 'open')
  await served.machines.serial.chardev.close()
  await first.until(() => first.closed !== undefined)
  t.deepEqual(first.closed, { code: 1001, reason: 'the machine is gone' })

  await using other = await aRunningVm()
  using second = new ConsoleClient(other)
  await once(second.socket, 'open')
  await other.server?.close()
  await second.until(() => second.closed !== undefined)
  t.is(second.closed?.code, 1006)
})

test('a client that does not read is let go', async t => {
  await using served = await aRunningVm()
  using client = new ConsoleClient(served)
  await once(client.socket, 'open')
  client.socket.pause()
  const { serial } = served.machines
  for (let sent = 0; sent < 12; sent += 1) serial.chardev.write(Buffer.alloc(1024 * 1024, 'x'))
  client.socket.resume()
  await client.until(() => client.closed !== undefined)
  t.is(client.closed?.code, 1013)
  t.true(client.text.length < 12 * 1024 * 1024)
})

test('other offers to change the protocol are not taken up, and a plain request is none for a console', async t => {
  await using served = await ServedVmm.start()
  using client = new RawClient(served.socketPath)
  client.send(
    'GET /api/v1/vmm.ping HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n',
  )
  t.regex(await client.expect(/\}/), /^HTTP\/1\.1 200 \r\n/)
  t.is((await served.get('/tsvmm.console')).status, 404)
  using broken = new RawClient(served.socketPath)
  broken.send('GET /api/v1/tsvmm.console HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  t.regex(await broken.rest(), /^HTTP\/1\.1 400 /)
})
