import { setTimeout as delay } from 'node:timers/promises'
import { portable } from '../config/settle.ts'
import { withoutDefaults } from '../config/without-defaults.ts'
import { abortable } from '../util/abortable.ts'
import { reasonOf } from '../util/errors.ts'
import type { MigrationAddress } from './addresses.ts'
import { Channel } from './channel.ts'
import { closeSocket, dial, socketOf } from './connections.native.ts'
import { sendDescriptors } from './descriptors.native.ts'
import { migrationError } from './error.ts'
import type { DepartingMachine } from './machines.ts'
import { newestVersions, refuseUnreadable, type Speaker } from './negotiation.ts'
import type { ConnectionRole } from './preamble.ts'
import { handover, lateMemory } from './protocol.ts'
import { rehearseSave } from './rehearsal.ts'
import { openTunnel } from './security.ts'
import type { SendSettings } from './send-options.ts'
import type { TlsTunnel } from './tls-tunnel.native.ts'

const firstWaitMs = 50
const longestWaitMs = 5_000

/** The source's connections to the destination. */
export class SourceLink {
  readonly #address: MigrationAddress
  readonly #id: string
  readonly #settings: SendSettings
  #tunnel: TlsTunnel | undefined

  constructor(address: MigrationAddress, id: string, settings: SendSettings) {
    this.#address = address
    this.#id = id
    this.#settings = settings
  }

  /** Reads what TLS takes, where that is wanted. Throws ERR_MIGRATION. */
  async prepare(): Promise<void> {
    const { tlsDir } = this.#settings
    if (tlsDir !== undefined) this.#tunnel = await openTunnel(this.#address, tlsDir, 'client')
  }

  /** The control connection. Throws ERR_MIGRATION, and the signal's reason. */
  async connect(signal: AbortSignal): Promise<Channel> {
    const fd = await this.#dial('control', 0, signal)
    return new Channel(socketOf(fd), { peerTimeoutMs: this.#settings.peerTimeoutMs })
  }

  /**
   * Both sides say what they speak, and the destination whether it takes the machine.
   * Throws ERR_MIGRATION with the reason of the side that refuses, and the signal's reason.
   */
  async agree(channel: Channel, machine: DepartingMachine, speaker: Speaker, signal: AbortSignal): Promise<void> {
    const { protocol, software, schemas } = speaker
    const { connections, isLocal, postcopy } = this.#settings
    const features = [...(isLocal ? [handover] : []), ...(postcopy === 'never' ? [] : [lateMemory])]
    channel.send({
      ...{ type: 'hello', protocol: { ...protocol }, software, features },
      ...{ architecture: process.arch, schemas: newestVersions(schemas) },
    })
    const welcome = await abortable(channel.expect('welcome'), signal)
    refuseOld(machine, welcome.schemas)
    const { config, ram } = machine
    const handed = isLocal ? await this.#handOver(machine, signal) : { connections }
    channel.send({
      ...{ type: 'machine', config: withoutDefaults(portable(config)), cpu: await machine.describeCpu() },
      ranges: ram.ranges.map(({ guestAddress, sizeBytes }) => ({ guestAddress, sizeBytes })),
      ...handed,
    })
    const { records } = await abortable(channel.expect('accepted'), signal)
    channel.trust()
    await rehearse(machine, records)
  }

  async #handOver(machine: DepartingMachine, signal: AbortSignal) {
    const handed = machine.handover()
    const connection = await dial(this.#address, { role: 'descriptors', number: 0, id: this.#id }, signal)
    try {
      await sendDescriptors(
        connection,
        handed.flatMap(({ fds }) => fds),
      )
    } catch (cause) {
      throw migrationError(`its descriptors cannot be handed over: ${reasonOf(cause)}`, cause)
    }
    return { connections: 0, descriptors: handed.map(({ component, fds }) => ({ component, count: fds.length })) }
  }

  /** Descriptors of the connections for memory. */
  async openMemory(signal: AbortSignal): Promise<number[]> {
    const dials = Array.from({ length: this.#settings.connections }, (_, number) => {
      return this.#dial('memory', number, signal)
    })
    const made = await Promise.allSettled(dials)
    const sockets = made.flatMap(each => (each.status === 'fulfilled' ? [each.value] : []))
    const failed = made.find(each => each.status === 'rejected')
    if (failed === undefined) return sockets
    for (const fd of sockets) closeSocket(fd)
    throw failed.reason
  }

  /** The descriptor of the connection over which the destination asks for pages. */
  openFaults(signal: AbortSignal): Promise<number> {
    return this.#dial('faults', 0, signal)
  }

  #dial(role: ConnectionRole, number: number, signal: AbortSignal): Promise<number> {
    return dial(this.#address, { role, number, id: this.#id }, signal, this.#tunnel)
  }

  /** The control connection again, as soon as the destination is there, where it is worth while still when that is made. */
  async reconnect(isWorthwhile: () => boolean): Promise<Channel | undefined> {
    const deadline = performance.now() + this.#settings.resolveMs
    const never = new AbortController().signal
    for (let waitMs = firstWaitMs; performance.now() < deadline; waitMs = Math.min(2 * waitMs, longestWaitMs)) {
      await delay(waitMs, undefined, { ref: false })
      if (!isWorthwhile()) return undefined
      const channel = await this.connect(never).catch(() => undefined)
      if (channel !== undefined && isWorthwhile()) return channel
      channel?.close()
    }
    return undefined
  }
}

function refuseOld({ components }: DepartingMachine, known: Readonly<Record<string, number>>): void {
  try {
    refuseUnreadable(components, known)
  } catch (cause) {
    throw migrationError(`the destination is too old: ${reasonOf(cause)}`, cause)
  }
}

async function rehearse({ components }: DepartingMachine, records: Uint8Array): Promise<void> {
  try {
    await rehearseSave(components, records)
  } catch (cause) {
    throw migrationError(`the destination cannot take it: ${reasonOf(cause)}`, cause)
  }
}
