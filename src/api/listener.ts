import { chmodSync, fstatSync, lstatSync, unlinkSync } from 'node:fs'
import { connect, type Server } from 'node:net'
import { isMainThread } from 'node:worker_threads'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { refusal, type SocketAddress } from './socket-address.ts'
import { SocketLock } from './socket-lock.native.ts'

const socketMode = 0o600

/** What must be given back after the server has closed. */
export interface Listener {
  release(): void
}

/**
 * Makes `server` listen. A path becomes a socket that only its owner may use; what a dead server left there is replaced.
 * Throws ERR_API_SOCKET, then with nothing left behind.
 */
export async function listen(server: Server, address: SocketAddress): Promise<Listener> {
  if ('fd' in address) {
    checkDescriptor(address.fd)
    await startListening(server, address, `fd=${address.fd}`)
    return { release() {} }
  }
  const { path } = address
  const lock = SocketLock.take(path)
  try {
    await removeStaleSocket(path)
    await startListening(server, address, path)
  } catch (error) {
    lock.release()
    throw error
  }
  return lock
}

function checkDescriptor(fd: number): void {
  try {
    if (fstatSync(fd).isSocket()) return
  } catch (cause) {
    throw refusal(`fd=${fd}`, reasonOf(cause), cause)
  }
  throw refusal(`fd=${fd}`, 'is not a socket')
}

async function removeStaleSocket(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isSocket()) throw refusal(path, 'there is a file that is not a socket')
  // A server that takes no lock may be there, too.
  if (await isAnswered(path)) throw refusal(path, 'another server is listening on it')
  unlinkSync(path)
}

function isAnswered(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = connect(path)
  socket.once('connect', () => resolve(true))
  // Nobody has it open: ECONNREFUSED. A server too busy to answer (EAGAIN) is alive.
  socket.once('error', error => resolve(!('code' in error && error.code === 'ECONNREFUSED')))
  return promise.finally(() => socket.destroy())
}

async function startListening(server: Server, address: SocketAddress, name: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('listening', resolve)
  server.once('error', reject)
  bind(server, address)
  try {
    await promise
  } catch (cause) {
    throw cause instanceof TsvmmError ? cause : refusal(name, listenReason(cause), cause)
  } finally {
    server.off('listening', resolve)
    server.off('error', reject)
  }
}

/** The socket is made within listen(): with the mask set around it there is no moment in which others can connect. */
function bind(server: Server, address: SocketAddress): void {
  if (!isMainThread) {
    // The mask is the process's, and not a worker's to set.
    server.listen(address, () => 'path' in address && chmodSync(address.path, socketMode))
    return
  }
  const mask = process.umask(0o777 & ~socketMode)
  try {
    server.listen(address)
  } finally {
    process.umask(mask)
  }
}

/** Node says `listen EACCES: permission denied /path`. */
function listenReason(cause: unknown): string {
  return /^listen E[A-Z0-9]+: (.*?)( \S+)?$/.exec(reasonOf(cause))?.[1] ?? reasonOf(cause)
}
