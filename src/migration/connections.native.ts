import { lookup } from 'node:dns/promises'
import { writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { addon } from '../native/addon.ts'
import type { NativeDoorkeeper, NativeSocketAddress } from '../native/migration.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { formatMigrationAddress, type MigrationAddress } from './addresses.ts'
import { decodePreamble, encodePreamble, type Preamble, preambleBytes } from './preamble.ts'

/** How long a connection may take to be made. */
const patienceMs = 10_000

export interface Listener {
  /** With the port that it has. */
  readonly address: MigrationAddress
  /** It keeps the program from ending no longer. */
  unref(): void
  close(): void
}

/**
 * Listens for connections of migrations; others are dropped unheard. The descriptors are the callee's. Throws ERR_MIGRATION
 * where nobody can listen there.
 */
export async function listen(
  address: MigrationAddress,
  onConnection: (fd: number, preamble: Preamble) => void,
): Promise<Listener> {
  const [where] = await resolved(address)
  let keeper: NativeDoorkeeper
  try {
    keeper = new (addon().Doorkeeper)({
      address: where,
      greetingBytes: preambleBytes,
      patienceMs,
      onConnection: (fd, greeting) => {
        const preamble = decodePreamble(greeting)
        if (preamble === undefined) closeSocket(fd)
        else onConnection(fd, preamble)
      },
    })
  } catch (cause) {
    throw failure(`cannot listen at ${formatMigrationAddress(address)}`, cause)
  }
  return {
    address: address.kind === 'tcp' ? { ...address, port: keeper.port } : address,
    unref: () => keeper.unref(),
    close: () => keeper.close(),
  }
}

/** Makes a connection; its descriptor is the caller's. Throws ERR_MIGRATION, and the signal's reason where it was given up. */
export async function dial(address: MigrationAddress, preamble: Preamble, signal: AbortSignal): Promise<number> {
  let last: unknown
  for (const where of await resolved(address)) {
    signal.throwIfAborted()
    const call = new (addon().Dial)(where, patienceMs)
    const onAbort = () => call.cancel()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      const fd = await call.socket()
      greet(fd, preamble)
      return fd
    } catch (error) {
      last = error
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }
  signal.throwIfAborted()
  throw failure(`cannot reach ${formatMigrationAddress(address)}`, last)
}

function greet(fd: number, preamble: Preamble): void {
  try {
    // A socket that is new takes so little at once.
    writeSync(fd, encodePreamble(preamble))
  } catch (error) {
    closeSocket(fd)
    throw error
  }
}

/** For the control connection: Node's own socket. */
export function socketOf(fd: number): Socket {
  return new Socket({ fd })
}

export function closeSocket(fd: number): void {
  new Socket({ fd }).on('error', () => {}).destroy()
}

async function resolved(address: MigrationAddress): Promise<[NativeSocketAddress, ...NativeSocketAddress[]]> {
  if (address.kind === 'unix') return [{ path: address.path }]
  const { host, port } = address
  try {
    const [first, ...others] = (await lookup(host, { all: true })).map(found => ({ host: found.address, port }))
    if (first === undefined) throw new Error('it has no address')
    return [first, ...others]
  } catch (cause) {
    throw failure(`cannot find ${host}`, cause)
  }
}

function failure(what: string, cause: unknown): TsvmmError {
  return new TsvmmError('ERR_MIGRATION', { reason: `${what}: ${reasonOf(cause)}` }, { cause })
}
