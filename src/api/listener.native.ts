import { fstatSync, lstatSync, unlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { getSystemErrorMessage } from 'node:util'
import { addon } from '../native/addon.ts'
import type { NativeDescriptorListener } from '../native/descriptor-sockets.ts'
import { reasonOf } from '../util/errors.ts'
import { bindOwnerOnly } from '../util/owner-only.ts'
import { refusal, type SocketAddress } from './socket-address.ts'
import { SocketLock } from './socket-lock.native.ts'

/** Cloud Hypervisor's; clients tell threads apart by name. */
export const threadName = 'http-server'

export interface Listener {
  /** Nobody can connect any more. What is given back, socket and lock, is given back then. Idempotent. */
  release(): void
}

/**
 * Listens; `onConnection` gets the descriptor of each connection, which is its to close. A path becomes a socket that only its
 * owner may use; what a dead server left there is replaced. Throws ERR_API_SOCKET, then with nothing left behind.
 */
export async function listen(address: SocketAddress, onConnection: (fd: number) => void): Promise<Listener> {
  if ('fd' in address) {
    const { fd } = address
    checkDescriptor(fd)
    const listener = started(`fd=${fd}`, () => new (addon().DescriptorListener)({ fd, threadName, onConnection }))
    return { release: () => listener.close() }
  }
  const { path } = address
  const lock = SocketLock.take(path)
  try {
    await removeStaleSocket(path)
    const listener = started(path, () => bind(path, onConnection))
    return { release: () => release(path, listener, lock) }
  } catch (error) {
    lock.release()
    throw error
  }
}

function release(path: string, listener: NativeDescriptorListener, lock: SocketLock): void {
  listener.close()
  // Afterwards it may be another's.
  if (!lock.isReleased && lstatSync(path, { throwIfNoEntry: false }) !== undefined) unlinkSync(path)
  lock.release()
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

function bind(path: string, onConnection: (fd: number) => void): NativeDescriptorListener {
  return bindOwnerOnly(path, () => new (addon().DescriptorListener)({ path, threadName, onConnection }))
}

function started(name: string, make: () => NativeDescriptorListener): NativeDescriptorListener {
  try {
    return make()
  } catch (cause) {
    throw refusal(name, listenReason(cause), cause)
  }
}

function listenReason(cause: unknown): string {
  const errno = cause instanceof Error && 'errno' in cause ? Number(cause.errno) : 0
  const isNoListener = cause instanceof Error && 'syscall' in cause && cause.syscall === 'listen'
  if (isNoListener) return 'does not listen'
  return errno === 0 ? reasonOf(cause) : getSystemErrorMessage(errno)
}
