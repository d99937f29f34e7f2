import { request } from 'node:http'
import test from 'ava'
import { DescriptorSocket } from '../src/api/descriptor-socket.native.ts'
import { addon } from '../src/native/addon.ts'
import { ApiClient } from './harness/api-client.ts'
import { debianKernel, rootDisk } from './harness/artifacts.ts'
import type { GuestConsole } from './harness/guest-console.ts'
import { TapNetwork } from './harness/tap-network.ts'
import { TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const mac = '12:34:56:78:90:ab'

/** Sends descriptors of the tap's queues beside a request, and gives up its own. */
async function putWithTap(socketPath: string, path: string, network: TapNetwork, queuePairs: number, body: object) {
  const tap = new (addon().Tap)({ name: network.tap, queuePairs })
  try {
    const text = JSON.stringify(body)
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>()
    const options = {
      ...{ socketPath, method: 'PUT', path: `/api/v1${path}`, headers: { 'Content-Length': text.length } },
      createConnection: () => {
        const socket = DescriptorSocket.connect(socketPath, 'client')
        socket.sendWithNext(tap.fds)
        return socket
      },
    }
    const sent = request(options, response => {
      let answer = ''
      response.setEncoding('latin1').on('data', (chunk: string) => {
        answer += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text: answer }))
    })
    sent.on('error', reject)
    sent.end(text)
    return await promise
  } finally {
    tap.close()
  }
}

async function pings(guest: GuestConsole, network: TapNetwork): Promise<void> {
  await guest.check(`until grep -qi ${mac} /sys/class/net/*/address; do sleep 0.1; done`)
  const card = await guest.check(`basename "$(dirname "$(grep -il ${mac} /sys/class/net/*/address)")"`)
  await guest.check(`ip addr replace ${network.guestAddress}/24 dev ${card}; ip link set ${card} up`)
  await guest.check(`ping -c 3 -W 5 ${network.hostAddress}`)
}

test.serial(
  'a card whose taps come as descriptors works, stays over a power cycle, and is restored with others',
  async t => {
    using workspace = new Workspace()
    await using network = await TapNetwork.create('tsvmm0', 201, 2)
    const [socket, saved] = [workspace.path('api.sock'), workspace.path('saved')]
    const api = new ApiClient(socket)
    {
      await using vm = new TsvmmProcess([
        ...['--api-socket', socket, ...debianKernel.flags('console=ttyS0 root=/dev/vda rw')],
        ...['--disk', `path=${workspace.copy(rootDisk())}`, '--cpus', 'boot=2', '--memory', 'size=512M'],
        ...['--serial', 'tty', '--console', 'off'],
      ])
      const { console: guest } = vm
      await guest.logIn()
      t.deepEqual(await putWithTap(socket, '/vm.add-net', network, 2, { id: 'net_1', mac }), {
        ...{ status: 200, text: '{"id":"net_1","bdf":"0000:00:03.0"}' },
      })
      await pings(guest, network)
      await guest.check('sync')
      await api.change('/vm.shutdown')
      await api.change('/vm.boot')
      await guest.logIn()
      await pings(guest, network)
      await api.change('/vm.snapshot', { destination_url: saved })
      t.is((await api.put('/vmm.shutdown')).status, 200)
      await vm.exit()
    }
    await using vm = new TsvmmProcess(['--api-socket', socket])
    await api.ready()
    const bare = await api.put('/vm.restore', { source_url: `file://${saved}` })
    t.is(bare.status, 400)
    t.regex(JSON.stringify(bare.json), /net_1: had a tap by descriptor, and needs descriptors/)
    const body = { source_url: `file://${saved}`, resume: true, net_fds: [{ id: 'net_1', num_fds: 2 }] }
    t.is((await putWithTap(socket, '/vm.restore', network, 1, body)).status, 400)
    t.deepEqual(await putWithTap(socket, '/vm.restore', network, 2, body), { status: 204, text: '' })
    await pings(vm.console, network)
  },
)
