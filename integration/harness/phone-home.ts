import { once } from 'node:events'
import { createServer, type Server } from 'node:http'

/** Waits for what cloud-init posts when it has done all else. */
export class PhoneHome implements AsyncDisposable {
  readonly #server: Server
  readonly #calls: string[] = []
  #called: () => void = () => {}

  private constructor(server: Server) {
    this.#server = server
  }

  /** Listens where the seeds in fixtures/cloud-init call. */
  static async listen(host: string, port = 8123): Promise<PhoneHome> {
    const server = createServer()
    const home = new PhoneHome(server)
    server.on('request', (request, response) => {
      let body = ''
      request.setEncoding('latin1')
      request.on('data', (chunk: string) => {
        body += chunk
      })
      request.on('end', () => {
        response.end()
        home.#calls.push(body)
        home.#called()
      })
    })
    server.listen(port, host)
    await once(server, 'listening')
    return home
  }

  /** The fields of the next call. */
  async call(): Promise<URLSearchParams> {
    for (;;) {
      const body = this.#calls.shift()
      if (body !== undefined) return new URLSearchParams(body)
      await new Promise<void>(resolve => {
        this.#called = resolve
      })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }
}
