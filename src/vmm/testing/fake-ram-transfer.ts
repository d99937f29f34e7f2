import { once } from 'node:events'
import { Socket } from 'node:net'
import type {
  LateRam,
  LateRamOptions,
  RamReceiver,
  RamReceiverOptions,
  RamSender,
  RamSenderOptions,
} from '../../memory/ram-transfer.ts'

/** A page of it is all the RAM that a fake machine has. */
export const ramBytes = 4096

/** Sends the numbers of passes instead of pages. */
export class FakeRamSender implements RamSender {
  readonly #sockets: Socket[]
  #answering: Socket | undefined
  #isClosed = false
  readonly #step: () => Promise<void>

  constructor({ sockets }: RamSenderOptions, step: () => Promise<void>) {
    this.#sockets = sockets.map(fd => new Socket({ fd }))
    for (const socket of this.#sockets) socket.on('error', () => {})
    this.#step = step
  }

  answer(fd: number): void {
    const socket = new Socket({ fd })
    socket.on('error', () => {})
    this.#answering = socket
  }

  sendRest(): Promise<void> {
    return this.send()
  }

  async send(): Promise<void> {
    await this.#step()
    await Promise.all(
      this.#sockets.map(async socket => {
        socket.write('p')
        const [answer] = await Promise.race([once(socket, 'data'), once(socket, 'close')])
        if (!Buffer.isBuffer(answer)) throw new Error('the receiver of the memory has gone')
      }),
    )
  }

  counters() {
    if (this.#isClosed) throw new Error('it is closed')
    return {
      ...{ pagesDone: 1, pagesTotal: 1, zeroPages: 0, samePages: 0, deltaPages: 0, wholePages: 1, bytesSent: ramBytes },
    }
  }

  setLimit(): void {}

  cut(): void {
    this.#answering?.destroy()
    for (const socket of this.#sockets) socket.destroy()
  }

  close(): void {
    this.#isClosed = true
    this.cut()
  }
}

export class FakeRamReceiver implements RamReceiver {
  readonly #sockets: readonly Socket[]
  /** Told of the next pass. */
  onRest: () => void = () => {}

  constructor({ sockets, onPass, onFailure }: RamReceiverOptions) {
    this.#sockets = sockets.map(fd => new Socket({ fd }))
    const passes = new Map<Socket, number>()
    let hasFailed = false
    for (const socket of this.#sockets) {
      passes.set(socket, 0)
      socket.on('error', () => {})
      socket.on('data', () => {
        const pass = (passes.get(socket) ?? 0) + 1
        passes.set(socket, pass)
        if ([...passes.values()].every(each => each >= pass)) {
          onPass(pass)
          this.onRest()
        }
        socket.write('a')
      })
      socket.on('close', () => {
        if (!hasFailed) onFailure(new Error('the sender of the memory has gone'))
        hasFailed = true
      })
    }
  }

  counters() {
    return { bytesReceived: ramBytes, pagesReceived: 1 }
  }

  close(): void {
    for (const socket of this.#sockets) socket.removeAllListeners('close').destroy()
  }
}

/** All of it is there after the next pass. */
export class FakeLateRam implements LateRam {
  readonly #options: LateRamOptions
  #line: Socket | undefined

  constructor(options: LateRamOptions) {
    this.#options = options
    if (options.receiver instanceof FakeRamReceiver) options.receiver.onRest = options.onComplete
  }

  createReceiver(options: RamReceiverOptions): RamReceiver {
    const receiver = new FakeRamReceiver(options)
    receiver.onRest = this.#options.onComplete
    return receiver
  }

  askAt(fd: number): void {
    this.#line?.destroy()
    this.#line = new Socket({ fd })
    this.#line.on('error', () => {})
  }

  missing(): Uint8Array {
    return this.#options.missing
  }

  abandon(): void {}

  close(): void {
    this.#line?.destroy()
  }
}
