import { lookup } from 'node:dns/promises'
import { writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { addon } from '../native/addon.ts'
import type { NativeDoorkeeper, NativeSocketAddress } from '../native/migration.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { formatMigrationAddress, type MigrationAddress } from './addresses.ts'
import { decodePreamble, encodePreamble, type Preamble, preambleBytes } from './preamble.ts'
import type { TlsTunnel } from './tls-tunnel.native.ts'

/** How long a connection may take to be made. */
const patienceMs = 10_000
const betweenRefusalsMs = 1_000
/** Each takes three descriptors, and nobody knows yet who it is. */
const mostHandshakes = 256

export interface Listener {
  /** With the port that it has. */
  readonly address: MigrationAddress
  /** It keeps the program from ending no longer. */
  unref(): void
  close(): void
}

export interface ListenOptions {
  /** Through which they all come, where they are under TLS. */
  readonly tunnel?: TlsTunnel | undefined
  /** The descriptor is the callee's. */
  onConnection(fd: number, preamble: Preamble): void
  /** Somebody did not get through the tunnel. */
  onRefused?(reason: string): void
}

/**
 * Listens for connections of migrations; others are dropped unheard. Throws ERR_MIGRATION where nobody can listen there.
 */
export async function listen(address: MigrationAddress, options: ListenOptions): Promise<Listener> {
  const { tunnel, onConnection } = options
  const [where] = await resolved(address)
  const greeted = {
    ...{ greetingBytes: preambleBytes, patienceMs },
    onConnection: (fd: number, greeting: Uint8Array) => {
      const preamble = decodePreamble(greeting)
      if (preamble === undefined) closeSocket(fd)
      else onConnection(fd, preamble)
    },
  }
  let keepers: readonly [NativeDoorkeeper, ...NativeDoorkeeper[]]
  try {
    keepers =
      tunnel === undefined
        ? [new (addon().Doorkeeper)({ address: where, ...greeted })]
        : securely(tunnel, where, new (addon().Doorkeeper)(greeted), options)
  } catch (cause) {
    throw failure(`cannot listen at ${formatMigrationAddress(address)}`, cause)
  }
  const [first] = keepers
  return {
    address: address.kind === 'tcp' ? { ...address, port: first.port } : address,
    unref: () => {
      for (const keeper of keepers) keeper.unref()
    },
    close: () => {
      for (const keeper of keepers) keeper.close()
    },
  }
}

/** Lets in to the inner one who has come through the tunnel. */
function securely(
  tunnel: TlsTunnel,
  address: NativeSocketAddress,
  inner: NativeDoorkeeper,
  { onRefused }: ListenOptions,
): [NativeDoorkeeper, NativeDoorkeeper] {
  const given = new AbortController()
  let toldMs = -Infinity
  const refuse = (reason: string) => {
    // Strangers can come as often as they like.
    if (given.signal.aborted || performance.now() < toldMs + betweenRefusalsMs) return
    toldMs = performance.now()
    onRefused?.(reason)
  }
  let handshakes = 0
  const admit = async (network: number) => {
    if (handshakes >= mostHandshakes) return closeSocket(network)
    handshakes += 1
    try {
      const fd = await tunnel.secure(network, given.signal)
      if (given.signal.aborted) closeSocket(fd)
      else inner.admit(fd)
    } catch (error) {
      refuse(reasonOf(error))
    } finally {
      handshakes -= 1
    }
  }
  try {
    const outer = new (addon().Doorkeeper)({ address, onConnection: fd => void admit(fd) })
    const close = () => {
      given.abort()
      outer.close()
    }
    return [{ port: outer.port, admit: fd => outer.admit(fd), unref: () => outer.unref(), close }, inner]
  } catch (error) {
    inner.close()
    throw error
  }
}

/**
 * Makes a connection, through the tunnel where there is one; its descriptor is the caller's. Throws ERR_MIGRATION, and the signal's
 * reason where it was given up.
 */
export async function dial(
  address: MigrationAddress,
  preamble: Preamble,
  signal: AbortSignal,
  tunnel?: TlsTunnel,
): Promise<number> {
  let last: unknown
  for (const where of await resolved(address)) {
    signal.throwIfAborted()
    const call = new (addon().Dial)(where, patienceMs)
    const onAbort = () => call.cancel()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      const network = await call.socket()
      const fd = tunnel === undefined ? network : await tunnel.secure(network, signal)
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
