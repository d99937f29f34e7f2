import { once } from 'node:events'
import { existsSync, lstatSync, unlinkSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { hasCode, reasonOf, TsvmmError } from '../util/errors.ts'
import { bindOwnerOnly } from '../util/owner-only.ts'
import type { Chardev } from './chardev.ts'
import { StreamWriter } from './stream-writer.ts'

/** sun_path without its closing zero (unix(7)). */
const maximumPathBytes = 107

/**
 * A Unix socket that one client at a time connects to; a new client takes the place of the one before, so that nobody is
 * locked out by a client that hangs. Output without a client is dropped. Only this user may connect.
 */
export class SocketChardev implements Chardev {
  readonly path: string
  readonly #server: Server
  #client: Client | undefined
  #listener: (bytes: Uint8Array) => void = () => {}
  /** Not before somebody listens. */
  #isInputWanted = false
  #isClosed = false

  private constructor(path: string, server: Server) {
    this.path = path
    this.#server = server
    server.on('connection', socket => this.#accept(socket))
    server.on('error', () => {})
  }

  /** Throws ERR_CHARDEV naming `option`. A socket that nobody listens at any more is removed first. */
  static async open(option: string, path: string): Promise<SocketChardev> {
    try {
      if (Buffer.byteLength(path) > maximumPathBytes) throw new Error(`longer than ${maximumPathBytes} bytes`)
      await removeStale(path)
      const server = createServer({ allowHalfOpen: true })
      await listen(server, path)
      return new SocketChardev(path, server)
    } catch (cause) {
      throw new TsvmmError('ERR_CHARDEV', { option, path, reason: listenReason(path, cause) }, { cause })
    }
  }

  write(bytes: Uint8Array): void {
    this.#client?.writer.write(bytes)
  }

  onInput(listener: (bytes: Uint8Array) => void): void {
    this.#listener = listener
    this.setInputWanted(true)
  }

  setInputWanted(isWanted: boolean): void {
    this.#isInputWanted = isWanted
    if (isWanted) this.#client?.socket.resume()
    else this.#client?.socket.pause()
  }

  /** Removes the socket from the file system. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#drop()
    const closed = once(this.#server, 'close')
    this.#server.close()
    await closed
  }

  #accept(socket: Socket): void {
    if (this.#isClosed) {
      socket.destroy()
      return
    }
    this.#drop()
    const client = { socket, writer: new StreamWriter(socket) }
    this.#client = client
    socket.on('data', bytes => {
      if (this.#client === client) this.#listener(bytes)
    })
    // A client that has said all it wants to say may go on listening.
    socket.on('close', () => {
      client.writer.close()
      if (this.#client === client) this.#client = undefined
    })
    if (!this.#isInputWanted) socket.pause()
  }

  #drop(): void {
    this.#client?.writer.close()
    this.#client?.socket.destroy()
    this.#client = undefined
  }
}

interface Client {
  readonly socket: Socket
  readonly writer: StreamWriter
}

async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw new Error('exists and is no socket')
  const probe = connect(path)
  try {
    await once(probe, 'connect')
  } catch (error) {
    if (!hasCode(error, 'ECONNREFUSED')) throw error
    unlinkSync(path)
    return
  } finally {
    probe.destroy()
  }
  throw new Error('another process listens there')
}

async function listen(server: Server, path: string): Promise<void> {
  const listening = once(server, 'listening')
  // bind() is called before listen() returns.
  bindOwnerOnly(path, () => server.listen(path))
  await listening
}

function listenReason(path: string, cause: unknown): string {
  if (!(cause instanceof Error && 'code' in cause)) return reasonOf(cause)
  // libuv says EACCES for both.
  if (!existsSync(dirname(path))) return 'no such directory'
  if (cause.code === 'EACCES') return 'permission denied'
  if (cause.code === 'EADDRINUSE') return 'another process listens there'
  return reasonOf(cause)
}
