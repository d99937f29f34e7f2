import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

const pollMs = 2
const timeoutMs = 30_000

/** JSON over HTTP on a Unix socket, on one connection that is kept. */
export class HttpControl implements Disposable {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 })
  readonly #socketPath: string

  constructor(socketPath: string) {
    this.#socketPath = socketPath
  }

  /** Waits until somebody answers there. */
  async ready(path: string): Promise<void> {
    await until(() => this.send('GET', path))
  }

  /** Waits until nobody answers there any more. */
  async gone(path: string): Promise<void> {
    for (;;) {
      try {
        await this.send('GET', path)
      } catch {
        return
      }
      await delay(pollMs)
    }
  }

  send(method: 'GET' | 'PUT' | 'PATCH', path: string, body?: object): Promise<void> {
    return new Promise((resolve, reject) => {
      const headers = body === undefined ? {} : { 'content-type': 'application/json' }
      const sent = request({ socketPath: this.#socketPath, agent: this.#agent, method, path, headers }, response => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => {
          const status = response.statusCode ?? 0
          if (status >= 200 && status < 300) resolve()
          else reject(new Error(`${method} ${path}: ${status} ${text}`))
        })
      })
      sent.on('error', reject)
      sent.end(body === undefined ? undefined : JSON.stringify(body))
    })
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }
}

/** QEMU's machine protocol (QMP): a line of JSON each way. */
export class QmpControl implements Disposable {
  readonly #socket: Socket
  readonly #messages: object[] = []
  #text = ''
  #changed: () => void = () => {}

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (this.#text + chunk).split('\n')
      this.#text = lines.pop() ?? ''
      for (const line of lines) this.#messages.push(Object(JSON.parse(line)))
      this.#changed()
    })
    socket.on('error', () => {})
  }

  static async connect(path: string): Promise<QmpControl> {
    const socket = await until(() => {
      return new Promise<Socket>((resolve, reject) => {
        const connecting: Socket = connect(path, () => resolve(connecting)).on('error', reject)
      })
    })
    const control = new QmpControl(socket)
    await control.send('qmp_capabilities')
    return control
  }

  async send(execute: string, args: object = {}): Promise<void> {
    const from = this.#messages.length
    this.#socket.write(`${JSON.stringify({ execute, arguments: args })}\n`)
    const answer = await this.#message(from, message => 'return' in message || 'error' in message)
    if ('error' in answer) throw new Error(`${execute}: ${JSON.stringify(answer)}`)
  }

  /** Waits for an event whose data hold these values; `begin` leads to it. */
  async event(name: string, status: string, begin: () => Promise<void>): Promise<void> {
    const from = this.#messages.length
    await begin()
    await this.#message(from, message => {
      if (Reflect.get(message, 'event') !== name) return false
      const now: unknown = Reflect.get(Object(Reflect.get(message, 'data')), 'status')
      if (now === 'failed') throw new Error(`${name}: ${JSON.stringify(message)}`)
      return now === status
    })
  }

  async #message(from: number, isIt: (message: object) => boolean): Promise<object> {
    const deadline = performance.now() + timeoutMs
    for (let index = from; performance.now() < deadline; ) {
      const message = this.#messages[index]
      if (message !== undefined) {
        if (isIt(message)) return message
        index += 1
        continue
      }
      const changed = new Promise<void>(resolve => {
        this.#changed = resolve
      })
      await Promise.race([changed, delay(timeoutMs, undefined, { ref: false })])
    }
    throw new Error(`QEMU does not answer: ${JSON.stringify(this.#messages.slice(from))}`)
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }
}

async function until<T>(attempt: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (performance.now() > deadline) throw error
      await delay(pollMs)
    }
  }
}
