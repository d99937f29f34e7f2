import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { TapNetwork } from '../../integration/harness/tap-network.ts'
import { measureInGuest } from './measurement.ts'
import type { Samples } from './report.ts'
import type { Subject } from './subjects.ts'

const subnet = 203
const secondsPerDirection = 4
const clients = [
  { name: 'net_tx_mbps', flags: '' },
  { name: 'net_rx_mbps', flags: '--reverse' },
]

/** One TCP stream over a tap and one queue pair, from the guest to the host (tx) and back (rx). */
export async function benchNet(subjects: readonly Subject[], runs: number, samples: Samples): Promise<void> {
  for (let run = 0; run < runs; run += 1) {
    for (const subject of subjects) {
      await using network = await TapNetwork.create('tsvmmbench0', subnet)
      await using server = await IperfServer.start(network.hostAddress)
      const output = await measureInGuest(subject, script(network), {
        extend: guest => ({ ...guest, tap: network.tap }),
      })
      server.check()
      for (const { name } of clients) samples.add(name, subject.name, 'Mbit/s', 'higher', megabits(output, name))
    }
  }
}

function script({ hostAddress, guestAddress }: TapNetwork): string {
  const client = `iperf3 --client ${hostAddress} --time ${secondsPerDirection} --omit 1 --format m`
  return [
    'set -e',
    'ip link set eth0 up',
    `ip addr add ${guestAddress}/24 dev eth0`,
    ...clients.map(({ name, flags }) => `echo ${name}\n${client} ${flags}`),
  ].join('\n')
}

/** What the receiver of the named test got, in Mbit/s. */
export function megabits(output: string, name: string): number {
  const own = output.split(/^(?=net_)/m).find(part => part.startsWith(`${name}\n`)) ?? ''
  const value = Number(/([\d.]+) Mbits\/sec +receiver/.exec(own)?.[1])
  if (!(value > 0)) throw new Error(`iperf3 has no result of ${name}:\n${output}`)
  return value
}

class IperfServer implements AsyncDisposable {
  readonly #process
  #output = ''

  private constructor(address: string) {
    this.#process = spawn('iperf3', ['--server', '--forceflush', '--bind', address], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        this.#output += chunk
      })
    }
  }

  static async start(address: string): Promise<IperfServer> {
    const server = new IperfServer(address)
    await Promise.race([once(server.#process.stdout, 'data'), once(server.#process, 'exit')])
    server.check()
    return server
  }

  check(): void {
    if (this.#process.exitCode !== null) throw new Error(`iperf3's server has ended:\n${this.#output}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill()
    if (this.#process.exitCode === null && this.#process.signalCode === null) await once(this.#process, 'exit')
  }
}
