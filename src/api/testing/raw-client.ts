import { connect, type Socket } from 'node:net'

/** A client that writes bytes as it likes and reads whatever comes back. */
export class RawClient implements Disposable {
  readonly socket: Socket
  #received = ''
  #isEnded = false
  #changed: () => void = () => {}

  constructor(path: string) {
    this.socket = connect(path)
    this.socket.setEncoding('latin1')
    this.socket.on('data', (chunk: string) => {
      this.#received += chunk
      this.#changed()
    })
    const ended = () => {
      this.#isEnded = true
      this.#changed()
    }
    this.socket.on('end', ended)
    this.socket.on('close', ended)
    this.socket.on('error', ended)
  }

  get received(): string {
    return this.#received
  }

  get isEnded(): boolean {
    return this.#isEnded
  }

  send(text: string): void {
    this.socket.write(text, 'latin1')
  }

  /** What has come once it matches; takes it away. */
  async expect(pattern: RegExp): Promise<string> {
    for (;;) {
      const match = pattern.exec(this.#received)
      if (match !== null) {
        const taken = this.#received.slice(0, match.index + match[0].length)
        this.#received = this.#received.slice(taken.length)
        return taken
      }
      if (this.#isEnded) throw new Error(`the connection ended before ${pattern}: ${JSON.stringify(this.#received)}`)
      await this.#change()
    }
  }

  /** All that came until the server ended the connection. */
  async rest(): Promise<string> {
    while (!this.#isEnded) await this.#change()
    return this.#received
  }

  [Symbol.dispose](): void {
    this.socket.destroy()
  }

  #change(): Promise<void> {
    return new Promise(resolve => {
      this.#changed = resolve
    })
  }
}
