import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import type { Log } from '../util/log.ts'
import { closeDescriptor, DescriptorSocket } from './descriptor-socket.native.ts'
import { type Listener, listen, threadName } from './listener.native.ts'
import { errorReply, jsonReply, type Reply, refusalReply } from './reply.ts'
import { announcesTooMuch, BodyTooLarge, maximumBodyBytes, parseJson, readBody } from './request-body.ts'
import { RequestDescriptors } from './request-descriptors.ts'
import { type ApiContext, apiRoot, checkBody, type Route, routes } from './routes.ts'
import type { SocketAddress } from './socket-address.ts'

export { parseSocketAddress } from './socket-address.ts'

export interface ApiServerOptions extends Omit<ApiContext, 'warn'> {
  readonly address: SocketAddress
  readonly log: Log
  /** How long headers, and then the whole request, may take to arrive. */
  readonly headersTimeoutMs?: number
  readonly requestTimeoutMs?: number
}

/** Cloud Hypervisor's. */
const maximumConnections = 10
/** More clients at once are turned away without a word. */
const maximumRefused = 64
/** Requests of one connection that wait for an answer. */
const maximumPipelined = 4
const maximumHeaderBytes = 16 * 1024
/** How long a connection may take for its last answer when the server closes. */
const closeTimeoutMs = 1_000

/** Ours, beside Cloud Hypervisor's endpoints; a WebSocket. */
const consolePath = `${apiRoot}/tsvmm.console`
const routesByPath = new Map<string, Route>(routes.map(route => [`${apiRoot}${route.path}`, route]))

/**
 * The HTTP API on a Unix socket: reads requests, hands them to the table of routes, writes replies. Connections are our own, since
 * Node's cannot receive descriptors; Node's HTTP runs on top of them.
 */
export class ApiServer implements AsyncDisposable {
  readonly #server: Server
  readonly #context: ApiContext
  readonly #log: Log
  /** Connections, and how many of their requests wait for an answer. */
  readonly #waiting = new Map<object, number>()
  #drained: () => void = () => {}
  /** Those that are being turned away. */
  readonly #refused = new Set<DescriptorSocket>()
  /** Those that are WebSockets now. */
  readonly #consoles = new Set<Duplex>()
  #listener: Listener | undefined
  #closed: Promise<void> | undefined

  /** Throws ERR_API_SOCKET. */
  static async start(options: ApiServerOptions): Promise<ApiServer> {
    const server = new ApiServer(options)
    server.#listener = await listen(options.address, fd => server.#accept(fd))
    // What Node's own listening begins: looking for requests that take too long.
    server.#server.emit('listening')
    return server
  }

  private constructor(options: ApiServerOptions) {
    const { vmm, buildVersion, apiVersion, isStrict = false, log } = options
    this.#context = { vmm, buildVersion, apiVersion, isStrict, warn: message => log.warn(message) }
    this.#log = log
    const { headersTimeoutMs = 10_000, requestTimeoutMs = 30_000 } = options
    this.#server = createServer({
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      // Seldom: beside an idle guest nothing else wakes this process.
      connectionsCheckingInterval: headersTimeoutMs / 2,
      maxHeaderSize: maximumHeaderBytes,
      // Clients keep one connection for as long as they live.
      keepAliveTimeout: 0,
      requireHostHeader: false,
      // Others, as an offer of HTTP/2, are not taken up: the request is answered.
      shouldUpgradeCallback: request =>
        pathOf(request) === consolePath && request.headers.upgrade?.toLowerCase() === 'websocket',
    })
    this.#server.on('request', (request, response) => this.#serve(request, response))
    this.#server.on('checkContinue', (request, response) => {
      if (!announcesTooMuch(request)) response.writeContinue()
      this.#serve(request, response)
    })
    this.#server.on('upgrade', (request, socket, head) => this.#serveConsole(request, socket, head))
    this.#server.on('clientError', (error, socket) => {
      // An answer that is still due must not be taken for this one.
      const isWaiting = (this.#waiting.get(socket) ?? 0) > 0
      if (isWaiting || !socket.writable) socket.destroy()
      else refuseConnection(socket, clientErrorReply(error))
    })
  }

  /** Answers what has been asked, then gives socket and lock back. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#drained = resolve
    this.#listener?.release()
    for (const socket of [...this.#refused, ...this.#consoles]) socket.destroy()
    this.#server.close()
    if (this.#waiting.size === 0) return
    const deadline = setTimeout(() => this.#server.closeAllConnections(), closeTimeoutMs)
    await promise
    clearTimeout(deadline)
  }

  #accept(fd: number): void {
    if (this.#refused.size >= maximumRefused) {
      closeDescriptor(fd)
      return
    }
    const socket = new DescriptorSocket(fd, threadName)
    // A peer that goes away while it is answered is no news.
    socket.on('error', () => {})
    if (this.#waiting.size >= maximumConnections) {
      this.#turnAway(socket)
      return
    }
    this.#waiting.set(socket, 0)
    socket.once('close', () => {
      this.#waiting.delete(socket)
      if (this.#waiting.size === 0) this.#drained()
    })
    this.#server.emit('connection', socket)
  }

  /** What it takes for that is loaded when somebody comes. */
  #serveConsole(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#consoles.add(socket)
    socket.once('close', () => this.#consoles.delete(socket))
    import('./console-socket.ts')
      .then(({ serveConsole }) => serveConsole(this.#context.vmm, request, socket, head))
      .catch(() => socket.destroy())
  }

  #turnAway(socket: DescriptorSocket): void {
    this.#refused.add(socket)
    socket.once('close', () => this.#refused.delete(socket))
    refuseConnection(socket, refusalReply(503, 'Service Unavailable', `${maximumConnections} connections are open`))
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request
    const waiting = this.#waiting.get(socket)
    if (waiting === undefined) return
    if (waiting >= maximumPipelined) {
      socket.destroy()
      return
    }
    this.#waiting.set(socket, waiting + 1)
    response.once('close', () => {
      const left = this.#waiting.get(socket)
      if (left !== undefined) this.#waiting.set(socket, left - 1)
    })
    const begun = performance.now()
    this.#answer(request).then(
      reply => {
        this.#write(response, reply)
        const duration = (performance.now() - begun).toFixed(1)
        this.#log.debug(`api: ${request.method} ${request.url}: ${reply.status} in ${duration} ms`)
        if (reply.status >= 400) this.#log.info(`api: ${request.method} ${request.url}: ${reply.body ?? ''}`)
      },
      // The connection ended before the request did: nobody waits for a reply.
      error => {
        this.#log.debug(`api: ${request.method} ${request.url}: ${reasonOf(error)}`)
        socket.destroy()
      },
    )
  }

  async #answer(request: IncomingMessage): Promise<Reply> {
    const route = routesByPath.get(pathOf(request))
    let body: Buffer
    try {
      body = await readBody(request)
    } catch (error) {
      if (!(error instanceof BodyTooLarge)) throw error
      return { ...refusalReply(413, 'Payload Too Large', `a body has at most ${maximumBodyBytes} bytes`), closes: true }
    }
    using descriptors = descriptorsOf(request)
    if (route === undefined) return refusalReply(404, 'Not Found', `there is no ${pathOf(request)}`)
    const { method = '' } = request
    if (method !== 'GET' && method !== 'PUT') return { status: 400 }
    if (method !== route.method) return refusalReply(400, 'Bad Request', `${route.path} takes ${route.method}`)
    return await this.#run(route, body, descriptors)
  }

  async #run(route: Route, bytes: Buffer, descriptors: RequestDescriptors): Promise<Reply> {
    try {
      const result = await route.run(this.#context, requestedWith(route, bytes), descriptors)
      if (route.response === undefined || (route.mayBeSilent === true && result === undefined)) return { status: 204 }
      return route.response === 'empty' ? { status: 200, body: '' } : jsonReply(200, result)
    } catch (error) {
      return errorReply(route.failure, error)
    }
  }

  #write(response: ServerResponse, { status, body, closes = false }: Reply): void {
    const isLast = closes || this.#closed !== undefined || !response.shouldKeepAlive
    response.sendDate = false
    // Clients read all that is between the protocol and the end of the line as a number: there must be no reason phrase.
    response.writeHead(status, '', {
      Server: 'Cloud Hypervisor API',
      Connection: isLast ? 'close' : 'keep-alive',
      ...(status === 204 ? {} : contentHeaders(body ?? '')),
    })
    response.end(body)
  }
}

/** Clients name the resource alone, or put scheme and host before it. */
function pathOf({ url = '' }: IncomingMessage): string {
  return URL.parse(url, 'http://localhost')?.pathname ?? url
}

/** What a request brings. GET takes no body and ignores one; other requests without a shape refuse it. */
function requestedWith(route: Route, bytes: Buffer): unknown {
  if (route.method === 'GET') return undefined
  if (route.request === undefined) {
    if (bytes.length > 0) throw new TsvmmError('ERR_API_REQUEST', { reason: `${route.path.slice(1)} takes no body` })
    return undefined
  }
  if (bytes.length === 0) throw new TsvmmError('ERR_API_REQUEST', { reason: `${route.path.slice(1)} needs a body` })
  return checkBody(route, parseJson(bytes))
}

function contentHeaders(body: string): Record<string, string | number> {
  return { ...(body === '' ? {} : { 'Content-Type': 'application/json' }), 'Content-Length': body.length }
}

const clientErrors: Readonly<Record<string, Reply>> = {
  ERR_HTTP_REQUEST_TIMEOUT: refusalReply(408, 'Request Timeout', 'the request took too long to arrive'),
  HPE_HEADER_OVERFLOW: refusalReply(431, 'Request Header Fields Too Large', `at most ${maximumHeaderBytes} bytes`),
}

function clientErrorReply(error: Error): Reply {
  const code = 'code' in error ? String(error.code) : ''
  return clientErrors[code] ?? refusalReply(400, 'Bad Request', 'this is not HTTP/1.1')
}

/** Those that came with any part of the request. */
function descriptorsOf({ socket }: IncomingMessage): RequestDescriptors {
  const carrier: unknown = socket
  if (!(carrier instanceof DescriptorSocket)) return RequestDescriptors.none
  return new RequestDescriptors(carrier.takeDescriptors(), closeDescriptor)
}

/** The last answer on a connection, without Node's HTTP. */
function lastWords({ status, body = '' }: Reply): string {
  return (
    `HTTP/1.1 ${status} \r\nServer: Cloud Hypervisor API\r\nConnection: close\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${body.length}\r\n\r\n${body}`
  )
}

function refuseConnection(socket: NodeJS.WritableStream & { destroySoon?(): void }, reply: Reply): void {
  socket.write(lastWords(reply))
  socket.destroySoon?.()
}
