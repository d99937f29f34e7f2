import { once } from 'node:events'
import { closeSync, fstatSync, openSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { DescriptorSocket } from './descriptor-socket.native.ts'
import { ServedVmm } from './testing/served-vmm.ts'

const config = { payload: { kernel: 'k' }, console: { mode: 'Off' } }

/** A client that sends descriptors with parts of a request, as it likes. */
class Sender implements Disposable {
  readonly socket: DescriptorSocket
  received = ''

  constructor(path: string) {
    this.socket = DescriptorSocket.connect(path, 'client')
    this.socket.setEncoding('latin1')
    this.socket.on('data', (text: string) => {
      this.received += text
    })
    this.socket.on('error', () => {})
    this.socket.on('end', () => this.socket.destroy())
  }

  async send(text: string, fds: readonly number[] = []): Promise<void> {
    this.socket.sendWithNext(fds)
    await new Promise(resolve => this.socket.write(text, resolve))
    // As a chunk of its own.
    await delay(5)
  }

  async answer(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.received)) await once(this.socket, 'data')
    const { received } = this
    this.received = ''
    return received
  }

  [Symbol.dispose](): void {
    this.socket.destroy()
  }
}

/** Files of their own, open, and how many this process has open. */
function someFiles(t: ExecutionContext, served: ServedVmm, count: number) {
  const files = Array.from({ length: count }, (_, index) => openSync(join(served.folder, `file${index}`), 'w+'))
  t.teardown(() => {
    for (const fd of files) closeSync(fd)
  })
  return files
}

/** How many descriptors of this process name files of its folder. */
function openFiles(served: ServedVmm): number {
  const inodes = new Set(readdirSync(served.folder).map(name => statSync(join(served.folder, name)).ino))
  const open = readdirSync('/proc/self/fd').map(fd => statSync(`/proc/self/fd/${fd}`, { throwIfNoEntry: false }))
  return open.filter(stat => stat?.isFile() === true && inodes.has(stat.ino)).length
}

const inodesOf = (fds: readonly number[] = []) => fds.map(fd => fstatSync(fd).ino)

function requestOf(path: string, body: object): string {
  const text = JSON.stringify(body)
  return `PUT /api/v1${path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Length: ${text.length}\r\n\r\n${text}`
}

test.serial('descriptors that come with any part of a request are queue pairs of the card, in their order', async t => {
  await using served = await ServedVmm.start()
  await served.put('/vm.create', config)
  const [first = 0, second = 0, third = 0] = someFiles(t, served, 3)
  using client = new Sender(served.socketPath)
  const before = openFiles(served)
  await client.send('PUT /api/v1/vm.add-net HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n', [third])
  await client.send('Content-Length: 40\r\n', [first])
  await client.send('\r\n')
  await client.send('{"id":"net_1","num_queues":6,', [second])
  await client.send('"fds":null}')
  t.regex(await client.answer(/\r\n\r\n/), /^HTTP\/1\.1 204 \r\n/)
  t.is(openFiles(served), before + 3)
  const { json } = await served.get('/vm.info')
  t.notRegex(JSON.stringify(json), /"fds"/)
  t.is((await served.put('/vm.boot')).status, 204)
  t.deepEqual(inodesOf(served.machines.configs[0]?.net[0]?.fds), inodesOf([third, first, second]))
  // They are there for the next boot.
  await served.put('/vm.shutdown')
  await served.put('/vm.boot')
  t.deepEqual(inodesOf(served.machines.configs[1]?.net[0]?.fds), inodesOf([third, first, second]))
  await served.put('/vm.delete')
  t.is(openFiles(served), before)
})

test.serial(
  'a machine that runs takes them at once, in a reply of one piece, and gives them back with the card',
  async t => {
    await using served = await ServedVmm.start()
    await served.put('/vm.create', config)
    await served.put('/vm.boot')
    const files = someFiles(t, served, 2)
    using client = new Sender(served.socketPath)
    const before = openFiles(served)
    const chunks: string[] = []
    client.socket.on('data', (text: string) => chunks.push(text))
    await client.send(requestOf('/vm.add-net', { id: 'net_1', mac: '52:54:00:00:00:01' }), files)
    t.regex(await client.answer(/\}/), /^HTTP\/1\.1 200 \r\n.*\{"id":"net_1","bdf":"0000:00:02\.0"\}$/s)
    t.is(chunks.length, 1)
    t.true((chunks[0]?.length ?? 0) <= 1023)
    t.is(openFiles(served), before + 2)
    await served.put('/vm.remove-device', { id: 'net_1' })
    served.machines.controller.onEject(2)
    while (openFiles(served) > before) await delay(5)
    t.is(openFiles(served), before)
  },
)

test.serial('descriptors that nobody has use for, or that are not as many as they should be, are closed', async t => {
  await using served = await ServedVmm.start()
  await served.put('/vm.create', config)
  const files = someFiles(t, served, 3)
  using client = new Sender(served.socketPath)
  await client.send('GET /api/v1/vm.info HTTP/1.1\r\n\r\n')
  await client.answer(/\r\n\r\n/)
  const before = openFiles(served)
  const refused = async (path: string, body: object, status: number) => {
    await client.send(requestOf(path, body), files)
    t.regex(await client.answer(/\r\n\r\n/), new RegExp(`^HTTP/1\\.1 ${status} `), path)
    t.is(openFiles(served), before, `${path} ${JSON.stringify(body)}`)
  }
  await refused('/vm.add-net', { num_queues: 4 }, 400)
  await refused('/vm.add-net', { tap: 'tap0' }, 400)
  await refused('/vm.add-net', { ip: '192.168.1.1' }, 400)
  await refused('/vm.add-disk', { path: 'e' }, 204)
  await refused('/vm.nothing', {}, 404)
  await refused('/vm.restore', { source_url: '/s', net_fds: [{ id: 'a', num_fds: 2 }] }, 400)
  await refused('/vm.restore', { source_url: '/s', net_fds: [{ id: 'a', num_fds: 3 }] }, 500)
  await refused('/vm.boot', {}, 400)
  t.deepEqual(served.machines.configs, [])
  const half = new Sender(served.socketPath)
  await half.send('PUT /api/v1/vm.add-net HTTP/1.1\r\n', files)
  half.socket.destroy()
  while (openFiles(served) > before) await delay(5)
  t.pass()
})

test.serial('descriptors that keep coming end the connection', async t => {
  await using served = await ServedVmm.start()
  const [file = 0] = someFiles(t, served, 1)
  using client = new Sender(served.socketPath)
  const before = openFiles(served)
  for (let count = 0; count < 5 && !client.socket.closed; count += 1) {
    await client.send('PUT /api/v1/vm.add-net HTTP/1.1\r\n'.slice(count, count + 1), new Array(253).fill(file))
  }
  while (!client.socket.closed) await once(client.socket, 'close')
  while (openFiles(served) > before) await delay(5)
  t.is((await served.get('/vmm.ping')).status, 200)
})
