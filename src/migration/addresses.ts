import { isIPv6 } from 'node:net'
import { TsvmmError } from '../util/errors.ts'

/** Where the receiver of a migration listens. */
export type MigrationAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }

/** sun_path without its final zero (unix(7)). */
const longestPathBytes = 107

/**
 * Reads `tcp:HOST:PORT`, `tcp:[IPv6]:PORT` or `unix:/PATH`; `least` is the lowest port, 0 where any will do. Throws
 * ERR_MIGRATION_ADDRESS.
 */
export function parseMigrationAddress(url: string, least = 1): MigrationAddress {
  const { scheme, rest = '' } = /^(?<scheme>[a-z]+):(?<rest>.*)$/s.exec(url)?.groups ?? {}
  if (scheme === 'unix') return unixAddress(url, rest)
  if (scheme === 'tcp') return tcpAddress(url, rest, least)
  throw wrong(url, 'is neither tcp:HOST:PORT nor unix:/PATH')
}

function unixAddress(url: string, path: string): MigrationAddress {
  if (!path.startsWith('/')) throw wrong(url, 'the path is not absolute')
  if (path.includes('\0')) throw wrong(url, 'the path has a zero byte')
  if (Buffer.byteLength(path) > longestPathBytes) throw wrong(url, `the path is longer than ${longestPathBytes} bytes`)
  return { kind: 'unix', path }
}

function tcpAddress(url: string, rest: string, least: number): MigrationAddress {
  const {
    bracketed,
    plain,
    port = '',
  } = /^(?:\[(?<bracketed>[^\]]*)\]|(?<plain>[^:[\]]*)):(?<port>\d{1,5})$/.exec(rest)?.groups ?? {}
  const host = bracketed ?? plain
  if (host === undefined) throw wrong(url, 'is not tcp:HOST:PORT; an IPv6 address stands in [brackets]')
  if (host === '') throw wrong(url, 'has no host')
  if (bracketed !== undefined && !isIPv6(bracketed)) throw wrong(url, `${bracketed} is not an IPv6 address`)
  const number = Number(port)
  if (number < least || number > 0xffff) throw wrong(url, `the port must be ${least} to 65535`)
  return { kind: 'tcp', host, port: number }
}

export function formatMigrationAddress(address: MigrationAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`
  const { host, port } = address
  return host.includes(':') ? `tcp:[${host}]:${port}` : `tcp:${host}:${port}`
}

function wrong(url: string, reason: string): TsvmmError {
  return new TsvmmError('ERR_MIGRATION_ADDRESS', { url, reason })
}
