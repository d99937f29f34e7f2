import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { createInterface } from 'node:readline'

/** How many lines are under way at once. */
const inFlight = 64

/**
 * A connection with a guest over which numbered lines go there and come back, all the time: none may be lost, doubled or out of
 * order, and the connection must last, whatever becomes of the machine meanwhile.
 */
export class TcpDialogue implements AsyncDisposable {
  readonly #server: Server
  readonly #address: string
  #socket: Socket | undefined
  #lines = 0
  /** What was wrong, empty as long as nothing was. */
  readonly errors: string[] = []

  private constructor(server: Server, address: string) {
    this.#server = server
    this.#address = address
    server.on('connection', socket => this.#talk(socket))
  }

  static async listen(address: string): Promise<TcpDialogue> {
    const server = createServer()
    server.listen(0, address)
    await once(server, 'listening')
    return new TcpDialogue(server, address)
  }

  /** Lines that came back so far. */
  get lines(): number {
    return this.#lines
  }

  /** The guest's part, to be typed into a shell; it writes what is wrong to /tmp/errors. */
  get script(): string {
    const bound = this.#server.address()
    if (bound === null || typeof bound === 'string') throw new Error('not a TCP server')
    return [
      'dialogue() { q=0; while read -r n <&9; do',
      '[ "$n" = $((q + 1)) ] || echo "line $n came after $q" >> /tmp/errors; q=$n; echo $n >&9; done;',
      `echo "the connection ended" >> /tmp/errors; }; dialogue 9<>/dev/tcp/${this.#address}/${bound.port} &`,
    ].join(' ')
  }

  #talk(socket: Socket): void {
    if (this.#socket !== undefined) this.errors.push('a second connection')
    this.#socket = socket
    // A guest that is not there for a while is no reason to give it up.
    socket.setTimeout(0)
    socket.on('error', error => this.errors.push(String(error)))
    socket.on('end', () => this.errors.push('the guest ended the connection'))
    const lines = createInterface({ input: socket })
    lines.on('line', line => {
      this.#lines += 1
      if (line !== String(this.#lines)) this.errors.push(`line ${line} came back as the ${this.#lines}th`)
      socket.write(`${this.#lines + inFlight}\n`)
    })
    // That of the socket again.
    lines.on('error', () => {})
    socket.write(Array.from({ length: inFlight }, (_, index) => `${index + 1}\n`).join(''))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket?.removeAllListeners('error').on('error', () => {})
    this.#socket?.destroy()
    await new Promise(resolve => this.#server.close(resolve))
  }
}
