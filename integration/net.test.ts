import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import test from 'ava'
import { execa } from 'execa'
import { debianKernel, rootDisk } from './harness/artifacts.ts'
import { TapNetwork } from './harness/tap-network.ts'
import { TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const payload = randomBytes(100_000_000)
const payloadDigest = createHash('sha256').update(payload).digest('hex')

/** Disposing ends its connections, too: a test that fails half-way must not keep its process from ending. */
async function listen(handler: (socket: Socket) => void, address: string): Promise<AsyncDisposable & { port: number }> {
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket)
    // What the other end does to the connection shows in what arrives.
    socket.on('error', () => {})
    handler(socket)
  })
  server.listen(0, address)
  await once(server, 'listening')
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error('not a TCP server')
  return {
    port: bound.port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

for (const { title, keys, queuePairs } of [
  { title: 'one queue pair', keys: '', queuePairs: 1 },
  { title: 'two queue pairs', keys: ',num_queues=4', queuePairs: 2 },
]) {
  test.serial(`ping and 100 MB each way with ${title}`, async t => {
    using workspace = new Workspace()
    await using network = await TapNetwork.create('tsvmm0', 201, queuePairs)
    await using vm = new TsvmmProcess([
      ...debianKernel.flags('console=ttyS0 root=/dev/vda rw'),
      ...['--disk', `path=${workspace.copy(rootDisk())}`],
      ...['--cpus', `boot=${queuePairs}`, '--memory', 'size=512M', '--serial', 'tty', '--console', 'off'],
      ...['--net', `tap=${network.tap},mac=12:34:56:78:90:ab${keys}`],
    ])
    const { console: guest } = vm
    await guest.logIn()
    const card = await guest.check('basename "$(dirname "$(grep -il 12:34:56:78:90:ab /sys/class/net/*/address)")"')
    await guest.check(`ip addr add ${network.guestAddress}/24 dev ${card}; ip link set ${card} up`)
    await guest.check(`ping -c 3 -W 5 ${network.hostAddress}`)
    await execa('ping', ['-c', '3', '-W', '5', network.guestAddress])

    await using sender = await listen(socket => socket.end(payload), network.hostAddress)
    const received = await guest.check(`socat -u TCP:${network.hostAddress}:${sender.port} - | sha256sum`, 180_000)
    t.is(received.split(' ')[0], payloadDigest, 'host to guest')

    const digest = Promise.withResolvers<string>()
    await using receiver = await listen(socket => {
      const hash = createHash('sha256')
      socket.on('data', chunk => hash.update(chunk))
      socket.on('end', () => digest.resolve(hash.digest('hex')))
      socket.on('error', digest.reject)
    }, network.hostAddress)
    await guest.check('head -c 100000000 /dev/urandom > /tmp/payload', 120_000)
    const sent = await guest.check('sha256sum < /tmp/payload', 120_000)
    await guest.check(`socat -u /tmp/payload TCP:${network.hostAddress}:${receiver.port}`, 180_000)
    t.is(await digest.promise, sent.slice(0, 64), 'guest to host')
    t.is((await vm.powerOff()).exitCode, 0)
  })
}

test.serial('a tap that tsvmm created is gone when it ends, one that was there stays', async t => {
  await using network = await TapNetwork.create('tsvmm0', 201)
  await using vm = new TsvmmProcess([
    ...debianKernel.flags('console=ttyS0 tsvmm.run=poweroff'),
    ...['--net', `tap=${network.tap}`, 'tap=tsvmmnew0,ip=192.168.202.1,mask=255.255.255.0'],
    ...['--memory', 'size=256M', '--serial', 'tty', '--console', 'off'],
  ])
  t.is((await vm.exit()).exitCode, 0)
  t.regex((await execa('ip', ['link', 'show', network.tap])).stdout, /tsvmm0/)
  t.not((await execa('ip', ['link', 'show', 'tsvmmnew0'], { reject: false })).exitCode, 0)
})
