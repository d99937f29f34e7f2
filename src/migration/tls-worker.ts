import { isIP, Socket } from 'node:net'
import { connect, createServer, type TLSSocket } from 'node:tls'
import { parentPort, workerData } from 'node:worker_threads'

/** What a side shows, and by whom the other side's certificate must be signed: PEM. */
export interface TlsCredentials {
  readonly ca: string
  readonly cert: string
  readonly key: string
}

export interface TlsWorkerData {
  readonly credentials: TlsCredentials
  /** Of the other side, which is called: the name or address that its certificate must be for. Absent where it calls. */
  readonly host?: string
  /** How long a handshake may take. */
  readonly patienceMs: number
}

/** To the worker; the descriptors are its own from then on. */
export type TlsTask =
  /** What is said in clear at `plain` goes over the connection `network`. */
  | { readonly kind: 'secure'; readonly id: number; readonly network: number; readonly plain: number }
  | { readonly kind: 'drop'; readonly id: number }

/** From it. */
export type TlsNews =
  | { readonly kind: 'secured' | 'ended'; readonly id: number }
  | { readonly kind: 'refused'; readonly id: number; readonly reason: string }

/** Behind the handshake the side that was called says so that it accepts the other one, which would not know otherwise. */
const accepted = Uint8Array.of(0)

const ending = 'the other side has ended the connection: it may not accept the certificate of this one'

/** Pumps between connections under TLS and those that the threads of the addon own. */
export class TlsPump {
  readonly #data: TlsWorkerData
  readonly #tell: (news: TlsNews) => void
  readonly #sockets = new Map<number, Socket>()

  constructor(data: TlsWorkerData, tell: (news: TlsNews) => void) {
    this.#data = data
    this.#tell = tell
  }

  take(task: TlsTask): void {
    if (task.kind === 'drop') this.#sockets.get(task.id)?.destroy()
    else void this.#secure(task)
  }

  async #secure({ id, network, plain }: Extract<TlsTask, { kind: 'secure' }>): Promise<void> {
    const raw = new Socket({ fd: network })
    const inner = new Socket({ fd: plain })
    raw.setNoDelay(true)
    raw.on('error', () => {})
    inner.on('error', () => {})
    this.#sockets.set(id, raw)
    const timer = setTimeout(() => raw.destroy(), this.#data.patienceMs)
    try {
      const secured = this.#data.host === undefined ? await this.#beCalled(raw) : await this.#call(raw, this.#data.host)
      clearTimeout(timer)
      this.#tell({ kind: 'secured', id })
      await pumped(secured, inner)
      this.#tell({ kind: 'ended', id })
    } catch (error) {
      raw.destroy()
      inner.destroy()
      this.#tell({ kind: 'refused', id, reason: reasonOf(error) })
    } finally {
      clearTimeout(timer)
      this.#sockets.delete(id)
    }
  }

  #call(raw: Socket, host: string): Promise<TLSSocket> {
    const name = isIP(host) === 0 ? { servername: host } : {}
    return new Promise((resolve, reject) => {
      const socket = connect({ socket: raw, host, ...name, ...this.#data.credentials, minVersion: 'TLSv1.3' })
      socket.once('error', reject)
      socket.once('close', () => reject(new Error(ending)))
      socket.once('readable', () => {
        if (socket.read(accepted.length) !== null) resolve(socket)
      })
    })
  }

  #beCalled(raw: Socket): Promise<TLSSocket> {
    return new Promise((resolve, reject) => {
      const mutual = { requestCert: true, rejectUnauthorized: true } as const
      const server = createServer({ ...this.#data.credentials, ...mutual, minVersion: 'TLSv1.3' })
      server.once('tlsClientError', (error, socket) => {
        // Of a certificate that is refused Node says no more than a code, and ends the connection.
        const { authorizationError: code } = socket
        reject(code ? new Error(`the certificate of the other side is refused: ${code}`) : error)
      })
      server.once('secureConnection', socket => {
        socket.write(accepted)
        resolve(socket)
      })
      server.emit('connection', raw)
    })
  }
}

/** Resolves when both have ended. */
async function pumped(one: Socket, other: Socket): Promise<void> {
  const ends = [
    [one, other],
    [other, one],
  ] as const
  await Promise.all(
    ends.map(([from, to]) => {
      from.on('error', () => {})
      from.pipe(to)
      return new Promise<void>(resolve => {
        from.once('close', () => {
          to.destroySoon()
          resolve()
        })
      })
    }),
  )
}

/** OpenSSL's messages have the place in its sources, too. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const reason = 'reason' in error && typeof error.reason === 'string' ? error.reason : error.message
  return reason.split('\n', 1)[0] ?? ''
}

const port = parentPort
if (port !== null) {
  const data: TlsWorkerData = workerData
  const pump = new TlsPump(data, news => port.postMessage(news))
  port.on('message', (task: TlsTask) => pump.take(task))
}
