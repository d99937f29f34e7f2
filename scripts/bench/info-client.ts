import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

const request = 'GET /api/v1/vm.info HTTP/1.1\r\nHost: localhost\r\n\r\n'

/** Asks for vm.info over and over on one connection, one request at a time. */
export class InfoClient implements Disposable {
  readonly #socket: Socket
  #text = ''
  #answered: () => void = () => {}
  #isWanted = false
  #answers = 0
  #begunMs = 0
  #asking: Promise<void> = Promise.resolve()

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('latin1').on('data', (chunk: string) => this.#take(chunk))
    socket.on('error', () => {})
    socket.on('close', () => {
      this.#isWanted = false
      this.#answered()
    })
  }

  static async connect(path: string): Promise<InfoClient> {
    const socket = connect(path)
    await once(socket, 'connect')
    return new InfoClient(socket)
  }

  /** From now on, so many a second, or as many as can be; until stop(). */
  start(rate = Number.POSITIVE_INFINITY): void {
    this.#isWanted = true
    this.#answers = 0
    this.#begunMs = performance.now()
    this.#asking = this.#ask(rate)
  }

  /** Answers a second since start(). */
  async stop(): Promise<number> {
    this.#isWanted = false
    const rate = (1_000 * this.#answers) / (performance.now() - this.#begunMs)
    await this.#asking
    return rate
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }

  async #ask(rate: number): Promise<void> {
    while (this.#isWanted) {
      const early = this.#begunMs + (1_000 * this.#answers) / rate - performance.now()
      // Node's timers have a millisecond at best: those that are due by then follow each other.
      if (early > 0) await delay(early)
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#answered = resolve
      this.#socket.write(request)
      await promise
      this.#answers += 1
    }
  }

  #take(chunk: string): void {
    this.#text += chunk
    const [head = '', length] = /^HTTP\/1\.1 200 \r\n.*?Content-Length: (\d+)\r\n\r\n/s.exec(this.#text) ?? []
    if (length === undefined || this.#text.length < head.length + Number(length)) return
    this.#text = this.#text.slice(head.length + Number(length))
    this.#answered()
  }
}
