import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { ByteQueue } from '../util/byte-queue.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { type ChardevOwner, chardevOwners, type JoinedConsole, type Vmm } from '../vmm/vmm.ts'

/** What somebody types or pastes at once. */
const largestMessageBytes = 1024 * 1024
/** What the guest has not taken yet. */
const mostTypedBytes = 64 * 1024
/** Output that a slow client has not taken yet; the guest is not to wait for it, nor this process to keep it. */
const mostWaitingBytes = 4 * 1024 * 1024
/** RFC 6455 §7.4.1: the machine is gone; what was asked for cannot be; a client that does not keep up. */
const closeCodes = { goingAway: 1001, refused: 1008, tooSlow: 1013 } as const
/** RFC 6455 §5.5: what a close frame has room for behind its code. */
const longestReasonBytes = 123

const server = new WebSocketServer({
  noServer: true,
  maxPayload: largestMessageBytes,
  perMessageDeflate: false,
  clientTracking: false,
})

/**
 * Joins a console of the machine over a WebSocket: messages in either direction are bytes of it. The query's `port` names it, as the command
 * line does. Where that cannot be, the connection is closed with the reason.
 */
export function serveConsole(vmm: Vmm, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  server.handleUpgrade(request, socket, head, webSocket => {
    // What is wrong with a connection ends it.
    webSocket.on('error', () => {})
    try {
      join(vmm, webSocket, portOf(request))
    } catch (error) {
      webSocket.close(closeCodes.refused, shortened(reasonOf(error)))
    }
  })
}

/** As much of a reason as a close frame takes, in whole characters. */
function shortened(reason: string): string {
  const { read } = new TextEncoder().encodeInto(reason, new Uint8Array(longestReasonBytes))
  return reason.slice(0, read)
}

function portOf({ url = '' }: IncomingMessage): ChardevOwner | undefined {
  const port = URL.parse(url, 'http://localhost')?.searchParams.get('port') ?? undefined
  if (port === undefined) return undefined
  const owner = chardevOwners.find(each => each.replace('_', '-') === port)
  if (owner === undefined) throw new TsvmmError('ERR_API_REQUEST', { reason: `port: ${port} is no console` })
  return owner
}

function join(vmm: Vmm, webSocket: WebSocket, owner: ChardevOwner | undefined): void {
  const typed = new ByteQueue()
  let isWanted = false
  let joined: JoinedConsole | undefined
  const handOn = () => {
    while (isWanted) {
      const bytes = typed.take()
      if (bytes === undefined) break
      joined?.write(bytes)
    }
    // A connection that is not read would not be seen to end, either: only what cannot be kept waits there.
    if (typed.lengthBytes > mostTypedBytes) webSocket.pause()
    else if (webSocket.isPaused) webSocket.resume()
  }
  const end = (code: number, reason: string) => {
    webSocket.close(code, reason)
    joined?.leave()
    typed.clear()
    webSocket.resume()
  }
  joined = vmm.joinConsole(
    {
      onOutput: bytes => {
        if (webSocket.bufferedAmount > mostWaitingBytes) end(closeCodes.tooSlow, 'this client is too slow')
        else webSocket.send(bytes)
      },
      onInputWanted: isWantedNow => {
        isWanted = isWantedNow
        handOn()
      },
      onEnd: () => end(closeCodes.goingAway, 'the machine is gone'),
    },
    owner,
  )
  webSocket.on('message', data => {
    typed.push(bytesOf(data))
    handOn()
  })
  webSocket.on('close', () => joined?.leave())
}

function bytesOf(data: Buffer | ArrayBuffer | Buffer[]): Buffer {
  if (Array.isArray(data)) return Buffer.concat(data)
  return Buffer.isBuffer(data) ? data : Buffer.from(data)
}
