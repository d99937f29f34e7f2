import { readFileSync } from 'node:fs'
import { execa } from 'execa'
import { TsvmmProcess } from './tsvmm-process.ts'

/** A host as far as its network goes: a namespace with a bridge of its own, and a tap for a machine on that. */
export class Host {
  readonly #namespace: string
  /** On the network of all hosts. */
  readonly address: string
  readonly tap = 'tap0'

  constructor(namespace: string, address: string) {
    this.#namespace = namespace
    this.address = address
  }

  /** What a program is run with to be on this host. */
  get through(): readonly string[] {
    return ['ip', 'netns', 'exec', this.#namespace]
  }

  run(args: readonly string[]): TsvmmProcess {
    return new TsvmmProcess(args, this.through)
  }

  /** What has gone over its link to the other hosts so far, both ways. */
  linkBytes(): number {
    const lines = readFileSync('/proc/net/dev', 'utf8')
      .split('\n')
      .map(line => line.trim())
    const counts = lines.find(line => line.startsWith(`${this.#namespace}:`))?.split(/:?\s+/) ?? []
    // Received, and sent, with what there is of each in eight columns.
    return Number(counts[1]) + Number(counts[9])
  }

  async connect(bridge: string): Promise<void> {
    const ns = this.#namespace
    await ip(`netns add ${ns}`)
    await ip(`link add ${ns} type veth peer name uplink netns ${ns}`)
    await ip(`link set ${ns} master ${bridge} up`)
    await ip(`-n ${ns} link set lo up`)
    await ip(`-n ${ns} link add bridge type bridge`)
    await ip(`-n ${ns} tuntap add dev ${this.tap} mode tap vnet_hdr`)
    for (const port of ['uplink', this.tap]) await ip(`-n ${ns} link set ${port} master bridge up`)
    await ip(`-n ${ns} addr add ${this.address}/24 dev bridge`)
    await ip(`-n ${ns} link set bridge up`)
  }

  async remove(): Promise<void> {
    await execa('ip', ['netns', 'del', this.#namespace], { reject: false })
    await execa('ip', ['link', 'del', this.#namespace], { reject: false })
  }
}

/** Two hosts and a third place, joined by a bridge. */
export class Hosts implements AsyncDisposable {
  readonly #bridge: string
  readonly hosts: readonly [Host, Host]
  /** Of the third place: where the tests are. */
  readonly address: string
  /** For a machine. */
  readonly guestAddress: string

  private constructor(name: string, subnet: number) {
    this.#bridge = `${name}br`
    this.address = `192.168.${subnet}.1`
    this.guestAddress = `192.168.${subnet}.2`
    this.hosts = [new Host(`${name}a`, `192.168.${subnet}.10`), new Host(`${name}b`, `192.168.${subnet}.11`)]
  }

  static async create(name: string, subnet: number): Promise<Hosts> {
    const hosts = new Hosts(name, subnet)
    try {
      await ip(`link add ${hosts.#bridge} type bridge`)
      await ip(`addr add ${hosts.address}/24 dev ${hosts.#bridge}`)
      await ip(`link set ${hosts.#bridge} up`)
      for (const host of hosts.hosts) await host.connect(hosts.#bridge)
      return hosts
    } catch (error) {
      await hosts[Symbol.asyncDispose]()
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of this.hosts) await host.remove()
    await execa('ip', ['link', 'del', this.#bridge], { reject: false })
  }
}

async function ip(command: string): Promise<void> {
  await execa('ip', command.split(' '))
}
