import { resolve as absolute } from 'node:path'
import { WebSocket } from 'ws'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import type { ConsoleDevice } from './local-commands.ts'
import type { RemoteConsole, RemoteHandlers } from './remote-console.ts'

/** RFC 6455 §7.4.1: it cannot be joined, and the reason says why. */
const refused = 1008

/** A console of the machine whose API is served at `socket`, the first that it has where none is named. Throws ERR_CONSOLE. */
export function openServedConsole(
  socket: string,
  device: ConsoleDevice | undefined,
  { onBytes, onEnd }: RemoteHandlers,
): Promise<RemoteConsole> {
  const { promise, resolve, reject } = Promise.withResolvers<RemoteConsole>()
  const query = device === undefined ? '' : `?port=${device}`
  const webSocket = new WebSocket(`ws+unix:${absolute(socket)}:/api/v1/tsvmm.console${query}`)
  const fail = (reason: string, cause?: unknown) => {
    const error = new TsvmmError('ERR_CONSOLE', { reason }, { cause })
    reject(error)
    onEnd(error)
  }
  webSocket.on('error', error => fail(`${socket}: ${reasonOf(error)}`, error))
  webSocket.on('open', () => {
    resolve({ write: bytes => webSocket.send(bytes), close: () => webSocket.terminate() })
  })
  // All messages are, as long as `binaryType` is what it is at first.
  webSocket.on('message', (data: Buffer) => onBytes(data))
  webSocket.on('close', (code, reason) => {
    if (code === refused) fail(reason.toString())
    else onEnd()
  })
  return promise
}
