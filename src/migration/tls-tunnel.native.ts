import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { Worker } from 'node:worker_threads'
import { addon } from '../native/addon.ts'
import { bundleLocation } from '../util/bundle-location.ts'
import { reasonOf } from '../util/errors.ts'
import { migrationError } from './error.ts'
import type { TlsCredentials, TlsNews, TlsTask, TlsWorkerData } from './tls-worker.ts'

const longestHandshakeMs = 10_000

/** Which files of the directory a side shows. */
export type TlsSide = 'client' | 'server'

export interface TlsTunnelOptions {
  /** That of the other side, where it is called. */
  readonly host?: string
  /** How long a handshake may take; 10 s. */
  readonly patienceMs?: number
}

/**
 * Reads `ca-cert.pem`, and the certificate and key of that side: `client-cert.pem` and `client-key.pem` of the source,
 * `server-cert.pem` and `server-key.pem` of the destination. Throws ERR_MIGRATION, naming the file.
 */
export async function readTlsCredentials(directory: string, side: TlsSide): Promise<TlsCredentials> {
  const read = async (name: string) => {
    const path = join(directory, name)
    try {
      return await readFile(path, 'utf8')
    } catch (cause) {
      throw migrationError(`tls_dir: ${path} cannot be read: ${reasonOf(cause)}`, cause)
    }
  }
  const [ca, cert, key] = [
    await read('ca-cert.pem'),
    await read(`${side}-cert.pem`),
    await read(`${side}-key.pem`),
  ] as const
  try {
    createSecureContext({ ca, cert, key })
  } catch (cause) {
    throw migrationError(
      `tls_dir: ${directory}: ca-cert.pem, ${side}-cert.pem or ${side}-key.pem: ${reasonOf(cause)}`,
      cause,
    )
  }
  return { ca, cert, key }
}

/** Where the cryptography is done. */
interface Pump {
  take(task: TlsTask): void
  end(): void
}

/**
 * Connections under TLS, mutually authenticated, for who knows nothing of it: Node does the cryptography, in a thread of its own
 * that lives as long as there are any (docs/adr/0014). A Node that began from a snapshot cannot have one more thread that makes
 * connections, it aborts: there it is done in this one.
 */
export class TlsTunnel {
  readonly #credentials: TlsCredentials
  readonly #options: TlsTunnelOptions
  readonly #waiting = new Map<number, { resolve(): void; reject(error: Error): void }>()
  #pump: Promise<Pump> | undefined
  #open = 0
  #last = 0

  constructor(credentials: TlsCredentials, options: TlsTunnelOptions = {}) {
    this.#credentials = credentials
    this.#options = options
  }

  /**
   * The descriptor of a connection in clear that goes over this one, once each side has accepted the other. Both are taken over.
   * Throws with the reason of who has not, and the signal's.
   */
  async secure(network: number, signal?: AbortSignal): Promise<number> {
    const [plain, own] = pairFor(network)
    const id = this.#last++
    const secured = Promise.withResolvers<void>()
    this.#waiting.set(id, secured)
    this.#open += 1
    this.#pump ??= this.#start()
    const pump = this.#pump
    // Also one that comes before there is a pump: it is taken behind the connection.
    const onAbort = () => void pump.then(each => each.take({ kind: 'drop', id }))
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      const { take } = await pump
      take({ kind: 'secure', id, network, plain })
      await secured.promise
      return own
    } catch (error) {
      addon().closeDescriptor(own)
      signal?.throwIfAborted()
      throw error
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  async #start(): Promise<Pump> {
    const workerData: TlsWorkerData = {
      ...{ credentials: this.#credentials, patienceMs: longestHandshakeMs },
      ...this.#options,
    }
    if (bundleLocation.isFromSnapshot) {
      const { TlsPump } = await import('./tls-worker.ts')
      const pump = new TlsPump(workerData, news => this.#hear(news))
      return { take: task => pump.take(task), end: () => {} }
    }
    const worker = new Worker(workerFile(), { workerData, name: 'tls' })
    // What uses the connections keeps the program.
    worker.unref()
    worker.on('message', (news: TlsNews) => this.#hear(news))
    worker.on('error', error => this.#fail(error))
    return { take: task => worker.postMessage(task), end: () => void worker.terminate() }
  }

  #hear(news: TlsNews): void {
    const waiting = this.#waiting.get(news.id)
    this.#waiting.delete(news.id)
    if (news.kind === 'secured') waiting?.resolve()
    if (news.kind === 'refused') waiting?.reject(new Error(`TLS: ${news.reason}`))
    if (news.kind !== 'secured') this.#leave()
  }

  #leave(): void {
    this.#open -= 1
    if (this.#open > 0) return
    void this.#pump?.then(pump => pump.end())
    this.#pump = undefined
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
    this.#open = 0
    this.#pump = undefined
  }
}

/** Where there is no descriptor left the connection ends. */
function pairFor(network: number): readonly [number, number] {
  try {
    return addon().socketPair()
  } catch (error) {
    addon().closeDescriptor(network)
    throw error
  }
}

function workerFile(): string {
  const bundled = join(bundleLocation.folder, 'tls-worker.js')
  return existsSync(bundled) ? bundled : join(bundleLocation.folder, '../migration/tls-worker.ts')
}
