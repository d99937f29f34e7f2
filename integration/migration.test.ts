import { execFileSync } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { CertificateAuthority, tlsDirectory } from '../src/migration/testing/certificates.ts'
import { ApiClient } from './harness/api-client.ts'
import { debianKernel, rootDisk } from './harness/artifacts.ts'
import { happens } from './harness/events.ts'
import { goesOn, progress, works } from './harness/guest-at-work.ts'
import { type Host, Hosts } from './harness/hosts.ts'
import { TcpDialogue } from './harness/tcp-dialogue.ts'
import { TcpRelay } from './harness/tcp-relay.ts'
import type { TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const mac = '12:34:56:78:90:ae'

const port = 4711
/** A host that has much else to do is no dead one. */
const patienceMs = 300_000

/** How a machine moves. */
interface Way {
  readonly over: 'tcp' | 'unix'
  readonly send: Readonly<Record<string, unknown>>
  readonly isSecure?: boolean
  /** All connections end so often when the machine runs at the other side already and waits for its memory. */
  readonly cuts?: number
}

const ways: readonly Way[] = [
  { over: 'tcp', send: { connections: 4 } },
  { over: 'unix', send: { connections: 1, preserve_source: true } },
  { over: 'tcp', send: { connections: 2, memory_mode: 'Postcopy', bandwidth: 4 * 1024 ** 2 }, cuts: 3 },
  { over: 'unix', send: { local: true } },
  { over: 'tcp', send: { connections: 4 }, isSecure: true },
]

for (const { moves, vcpus, when } of [
  { moves: ways.length, vcpus: 2, when: '' },
  { moves: 50, vcpus: 1, when: 'long: ' },
  { moves: 50, vcpus: 4, when: 'long: ' },
]) {
  test.serial(
    `${when}a machine at work with ${vcpus} vCPUs and a connection moves ${moves} times between two hosts`,
    async t => {
      t.timeout(90 * 60_000)
      using workspace = new Workspace()
      await using hosts = await Hosts.create('tsvmv', 204)
      await using dialogue = await TcpDialogue.listen(hosts.address)
      await using journey = await Journey.begin(workspace, hosts, vcpus)
      await journey.vm.console.check(dialogue.script)
      for (let move = 1; move <= moves; move += 1) {
        const way = ways[(move - 1) % ways.length] ?? { over: 'tcp', send: {} }
        const [from, lines] = [await progress(journey.vm.console), dialogue.lines]
        const what = `move ${move} ${JSON.stringify(way)}`
        const begunMs = performance.now()
        await journey.move(t, way, what)
        t.log(`${what}: ${Math.round(performance.now() - begunMs)} ms`)
        await goesOn(t, journey.vm.console, from, what)
        for (let waited = 0; dialogue.lines < lines + 100 && waited < 600; waited += 1) await delay(100)
        t.true(dialogue.lines >= lines + 100, `${what}: ${dialogue.lines - lines} lines`)
        t.deepEqual(dialogue.errors, [], what)
      }
      const { exitCode, stderr } = await journey.vm.powerOff()
      t.is(exitCode, 0, stderr)
    },
  )
}

interface CutMove {
  readonly host: Host
  readonly change: Readonly<Record<string, unknown>>
  readonly cuts: number
  readonly source: ApiClient
  readonly destination: ApiClient
}

/** A machine that goes from host to host. */
class Journey implements AsyncDisposable {
  readonly #workspace: Workspace
  readonly #hosts: Hosts
  readonly #processes = new AsyncDisposableStack()
  /** What both hosts show each other. */
  readonly #tls: string
  vm: TsvmmProcess
  #moves = 0
  #host: Host

  private constructor(workspace: Workspace, hosts: Hosts, vm: TsvmmProcess) {
    this.#workspace = workspace
    this.#hosts = hosts
    this.#host = hosts.hosts[0]
    const names = hosts.hosts.map(({ address }) => `IP:${address}`).join(',')
    this.#tls = tlsDirectory(workspace.path('tls'), new CertificateAuthority(workspace.path('authority')), { names })
    this.vm = this.#processes.use(vm)
  }

  static async begin(workspace: Workspace, hosts: Hosts, vcpus: number): Promise<Journey> {
    const data = workspace.path('data.qcow2')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', data, '64M'])
    const [host] = hosts.hosts
    const vm = host.run([
      ...['--api-socket', workspace.path('api-0.sock'), ...debianKernel.flags('console=ttyS0 root=/dev/vda rw')],
      ...['--disk', `path=${workspace.copy(rootDisk())}`, `path=${data},image_type=qcow2`, '--cpus', `boot=${vcpus}`],
      ...[
        '--memory',
        'size=512M,shared=on',
        '--net',
        `tap=${host.tap},mac=${mac}`,
        '--serial',
        'tty',
        '--console',
        'off',
      ],
    ])
    const journey = new Journey(workspace, hosts, vm)
    try {
      await works(vm.console, 16)
      await vm.console.check(`card=$(basename "$(dirname "$(grep -il ${mac} /sys/class/net/*/address)")")`)
      await vm.console.check(`ip addr add ${hosts.guestAddress}/24 dev $card; ip link set $card up`)
      return journey
    } catch (error) {
      await journey[Symbol.asyncDispose]()
      throw error
    }
  }

  async move(t: ExecutionContext, { over, send, isSecure = false, cuts = 0 }: Way, what: string): Promise<void> {
    const [source, destination] = [this.#api(this.#moves), this.#api(this.#moves + 1)]
    this.#moves += 1
    // What is handed over stays where it is, with its tap.
    const host = send['local'] === true ? this.#host : this.#other(this.#host)
    this.#host = host
    const url = over === 'tcp' ? `tcp:${host.address}:${port}` : `unix:${this.#workspace.path('migration.sock')}`
    const events = this.#workspace.path(`events-${this.#moves}`)
    const next = this.#processes.use(
      host.run([
        ...['--api-socket', destination.path, '--event-monitor', `path=${events}`],
        ...['--receive-migration', `${url},peer_timeout_ms=${patienceMs}${isSecure ? `,tls_dir=${this.#tls}` : ''}`],
      ]),
    )
    await happens(events, 'migration-receive-ready')
    const security = isSecure ? { tls_dir: this.#tls } : {}
    const change = { destination_url: url, peer_timeout_ms: patienceMs, ...security, ...send }
    if (cuts === 0) await source.client.change('/vm.send-migration', change)
    else await this.#moveWithCuts(t, { host, change, cuts, source: source.client, destination: destination.client })
    await destination.client.becomes('Running')
    if (send['preserve_source'] === true) {
      t.is(await source.client.state(), 'Paused', what)
      // Its disks are the other one's.
      t.is((await source.client.put('/vm.resume')).status, 500, what)
      t.is((await source.client.put('/vmm.shutdown')).status, 200, what)
    }
    const { exitCode, stderr } = await this.vm.exit()
    t.is(exitCode, 0, stderr)
    this.vm = next
  }

  /** Through a relay that ends all connections once the machine runs there and waits for its memory. */
  async #moveWithCuts(t: ExecutionContext, { host, change, cuts, source, destination }: CutMove): Promise<void> {
    const { address } = this.#hosts
    await using relay = await TcpRelay.listen(address, { host: host.address, port })
    let hasMoved = false
    const send = async () => {
      await source.change('/vm.send-migration', { ...change, destination_url: `tcp:${address}:${relay.port}` })
      hasMoved = true
    }
    const cut = async () => {
      await destination.becomes('Running', patienceMs)
      for (let left = cuts; left > 0; left -= 1) {
        // The control connection, one for faults and one for memory at least.
        while (!hasMoved && relay.connections < 3) await delay(10)
        await delay(200)
        t.false(hasMoved, `${left} cuts are left`)
        relay.cut()
      }
    }
    await Promise.all([send(), cut()])
  }

  #api(move: number): { readonly path: string; readonly client: ApiClient } {
    const path = this.#workspace.path(`api-${move}.sock`)
    return { path, client: new ApiClient(path) }
  }

  #other(host: Host): Host {
    const [one, other] = this.#hosts.hosts
    return host === one ? other : one
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#processes[Symbol.asyncDispose]()
  }
}
