import type { IncomingMessage } from 'node:http'
import { parseExactly } from '../config/json.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'

/** Cloud Hypervisor's limit. */
export const maximumBodyBytes = 4 * 1024 * 1024

/** A body that is, or says to be, longer than the limit: nothing more of it is read. */
export class BodyTooLarge extends Error {}

export function announcesTooMuch(request: IncomingMessage): boolean {
  return Number(request.headers['content-length'] ?? 0) > maximumBodyBytes
}

/** All bytes of the body. Throws BodyTooLarge, and what the connection failed with where it ends before the body does. */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  if (announcesTooMuch(request)) throw new BodyTooLarge()
  const chunks: Buffer[] = []
  let lengthBytes = 0
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    if (!(chunk instanceof Buffer)) continue
    lengthBytes += chunk.length
    if (lengthBytes > maximumBodyBytes) throw new BodyTooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, lengthBytes)
}

/** The JSON in a body. Throws ERR_API_REQUEST, and ERR_CONFIG_INVALID for a number that cannot be held exactly. */
export function parseJson(bytes: Uint8Array): unknown {
  try {
    return parseExactly(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    if (cause instanceof TsvmmError && cause.cause === undefined) throw cause
    const reason = `the body is not JSON: ${reasonOf(cause instanceof TsvmmError ? cause.cause : cause)}`
    throw new TsvmmError('ERR_API_REQUEST', { reason })
  }
}
