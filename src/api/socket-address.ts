import { TsvmmError } from '../util/errors.ts'

/** Where the API listens: a path to be made, or a descriptor that listens already. */
export type SocketAddress = { readonly path: string } | { readonly fd: number }

/** sun_path without its final zero (unix(7)). */
const pathMaximumBytes = 107

/** Parses `path=PATH`, `fd=N` or a bare path. Throws ERR_OPTION_INVALID. */
export function parseSocketAddress(text: string): SocketAddress {
  const { key, value } = /^(?<key>path|fd)=(?<value>.*)$/s.exec(text)?.groups ?? { key: 'path', value: text }
  if (key === 'fd') return { fd: parseDescriptor(value ?? '') }
  const path = value ?? ''
  if (path === '') throw invalid('has no path')
  if (path.includes('\0')) throw invalid('the path has a zero byte')
  if (Buffer.byteLength(path) > pathMaximumBytes) throw invalid(`the path is longer than ${pathMaximumBytes} bytes`)
  return { path }
}

function parseDescriptor(value: string): number {
  const fd = Number(value)
  if (!/^\d{1,9}$/.test(value)) throw invalid(`fd: ${value} is not a descriptor`)
  if (fd <= 2) throw invalid('fd: 0 to 2 are the standard streams')
  return fd
}

function invalid(reason: string): TsvmmError {
  return new TsvmmError('ERR_OPTION_INVALID', { option: '--api-socket', reason })
}

/** ERR_API_SOCKET for what stands in the way of listening. */
export function refusal(path: string, reason: string, cause?: unknown): TsvmmError {
  return new TsvmmError('ERR_API_SOCKET', { path, reason }, cause === undefined ? {} : { cause })
}
