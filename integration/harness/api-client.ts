import { request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'

export interface ApiAnswer {
  readonly status: number
  /** The body as JSON; undefined where there is none. */
  readonly json: unknown
}

/** A client of a machine's API, over its Unix socket. */
export class ApiClient {
  readonly #socketPath: string

  constructor(socketPath: string) {
    this.#socketPath = socketPath
  }

  get(path: string): Promise<ApiAnswer> {
    return this.#ask('GET', path)
  }

  put(path: string, body?: unknown): Promise<ApiAnswer> {
    return this.#ask('PUT', path, body === undefined ? undefined : JSON.stringify(body))
  }

  /** As put, where anything but success is an error. */
  async change(path: string, body?: unknown): Promise<void> {
    const { status, json } = await this.put(path, body)
    if (status !== 204 && status !== 200) throw new Error(`${path}: ${status} ${JSON.stringify(json)}`)
  }

  /** What `state` vm.info gives. */
  async state(): Promise<unknown> {
    const { json } = await this.get('/vm.info')
    return typeof json === 'object' && json !== null ? Reflect.get(json, 'state') : undefined
  }

  /** Waits until the machine has this state. */
  async becomes(state: string, timeoutMs = 60_000): Promise<void> {
    const deadline = performance.now() + timeoutMs
    await this.ready(timeoutMs)
    while ((await this.state()) !== state) {
      if (performance.now() > deadline) throw new Error(`the machine is not ${state} within ${timeoutMs} ms`)
      await delay(10)
    }
  }

  /** Asks as often as clients do until somebody answers. */
  async ready(timeoutMs = 60_000): Promise<void> {
    const deadline = performance.now() + timeoutMs
    for (;;) {
      try {
        await this.get('/vmm.ping')
        return
      } catch (cause) {
        if (performance.now() > deadline) throw new Error(`no answer within ${timeoutMs} ms`, { cause })
        await delay(10)
      }
    }
  }

  #ask(method: string, path: string, body?: string): Promise<ApiAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<ApiAnswer>()
    const headers = { 'Content-Length': Buffer.byteLength(body ?? '') }
    const options = { socketPath: this.#socketPath, method, path: `/api/v1${path}`, headers, agent: false }
    const sent = request(options, response => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        resolve({ status: response.statusCode ?? 0, json: text === '' ? undefined : JSON.parse(text) })
      })
    })
    sent.on('error', reject)
    sent.end(body)
    return promise
  }
}
