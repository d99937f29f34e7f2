import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { crc32, zstdDecompressSync } from 'node:zlib'
import { Packr, Unpackr } from 'msgpackr'
import * as z from 'zod/mini'

/*
 * A destination of migrations that was written from docs/migration-protocol.md alone: what it cannot do without more is missing in
 * the document. It has a byte array for memory and no machine.
 */

const bytes = z.instanceof(Uint8Array)
const hello = z.object({ protocol: z.object({ oldest: z.number(), newest: z.number() }), schemas: z.unknown() })
const machine = z.object({
  ranges: z.array(z.object({ guestAddress: z.number(), sizeBytes: z.number() })),
  connections: z.number(),
})
const state = z.object({ pass: z.number(), records: bytes, isPaused: z.boolean(), missing: z.optional(bytes) })
const typed = z.object({ type: z.string() })

const packr = new Packr({ useRecords: false })
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true })

const pageBytes = 4096
const spanPages = 256
const maskBytes = spanPages / 8
const kinds = { pages: 1, end: 2, applied: 3, request: 4 } as const
const encodings = { zstd: 1, xor: 2 } as const

export interface Received {
  readonly memory: Buffer
  readonly records: unknown
  readonly frames: number
  readonly deltas: number
}

export class IndependentReceiver implements AsyncDisposable {
  readonly #server: Server
  readonly #sample: Uint8Array
  readonly #sockets = new Set<Socket>()
  readonly #passes = new Map<Socket, number>()
  readonly #done = Promise.withResolvers<Received>()
  #onPass: () => void = () => {}
  #memory = Buffer.alloc(0)
  #connections = 0
  #frames = 0
  #deltas = 0

  private constructor(server: Server, sample: Uint8Array) {
    this.#server = server
    this.#sample = sample
  }

  /** `sample`: the state of such a machine, as a snapshot's state file has it. */
  static async listen(path: string, sample: Uint8Array): Promise<IndependentReceiver> {
    const server = createServer()
    const receiver = new IndependentReceiver(server, sample)
    server.on('connection', socket => {
      receiver.#serve(socket).catch(receiver.#done.reject)
    })
    server.listen(path)
    await once(server, 'listening')
    return receiver
  }

  /** What has come when the source said its last word. */
  get received(): Promise<Received> {
    return this.#done.promise
  }

  async #serve(socket: Socket): Promise<void> {
    this.#sockets.add(socket)
    const reader = new Reader(socket)
    const preamble = await reader.take(32)
    if (preamble.subarray(0, 8).toString() !== 'TSVMMIG1') return void socket.destroy()
    const role = preamble.readUInt32LE(8)
    if (role === 0) await this.#control(socket, reader)
    if (role === 1) await this.#receive(socket, reader)
  }

  async #control(socket: Socket, reader: Reader): Promise<void> {
    const say = speaker(socket)
    const beats = setInterval(() => say({ type: 'beat' }), 1000)
    try {
      let records: unknown
      for (let sequence = 0; ; sequence += 1) {
        const message = await messageOf(reader, sequence)
        switch (typed.parse(message).type) {
          case 'hello': {
            const { protocol, schemas } = hello.parse(message)
            if (protocol.oldest > 1 || protocol.newest < 1) throw new Error('it speaks another version')
            say({ type: 'welcome', version: 1, software: { name: 'independent', version: '1' }, schemas })
            break
          }
          case 'machine': {
            const { ranges, connections } = machine.parse(message)
            this.#memory = Buffer.alloc(ranges.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0))
            this.#connections = connections
            say({ type: 'accepted', records: this.#sample })
            break
          }
          case 'state': {
            const given = state.parse(message)
            await this.#arrived(given.pass)
            records = unpackr.unpack(zstdDecompressSync(given.records))
            say({ type: 'ready' })
            break
          }
          case 'commit':
            say({ type: 'owned' })
            break
          case 'bye':
            this.#done.resolve({ memory: this.#memory, records, frames: this.#frames, deltas: this.#deltas })
            return
        }
      }
    } finally {
      clearInterval(beats)
      socket.end()
    }
  }

  /** All connections are through with this pass. */
  async #arrived(pass: number): Promise<void> {
    while ([...this.#passes.values()].filter(each => each >= pass).length < this.#connections) {
      await new Promise<void>(resolve => {
        this.#onPass = resolve
      })
    }
  }

  async #receive(socket: Socket, reader: Reader): Promise<void> {
    let applied = 0
    for (let sequence = 0n; ; sequence += 1n) {
      const header = await reader.take(32).catch(() => undefined)
      // Between two frames a connection may end.
      if (header === undefined) return
      const payload = await reader.take(header.readUInt32LE(12))
      if (header.subarray(0, 4).toString() !== 'TVM1') throw new Error('no frame')
      if (crc32c(Buffer.concat([header.subarray(8), payload])) !== header.readUInt32LE(4)) throw new Error('checksum')
      if (header.readBigUInt64LE(16) !== sequence) throw new Error('a frame is missing')
      const number = Number(header.readBigUInt64LE(24))
      if (header[8] === kinds.pages) this.#place(number, header[9] ?? 0, payload)
      if (header[8] !== kinds.end) continue
      this.#passes.set(socket, number)
      this.#onPass()
      socket.write(mark(kinds.applied, applied++, number))
    }
  }

  #place(span: number, encoding: number, payload: Buffer): void {
    this.#frames += 1
    const [data, zero] = [payload.subarray(0, maskBytes), payload.subarray(maskBytes, 2 * maskBytes)]
    const rest = payload.subarray(2 * maskBytes)
    const contents = (encoding & encodings.zstd) === 0 ? rest : zstdDecompressSync(rest)
    const isXor = (encoding & encodings.xor) !== 0
    if (isXor) this.#deltas += 1
    let taken = 0
    for (let page = 0; page < spanPages; page += 1) {
      const at = (span * spanPages + page) * pageBytes
      if (isSet(zero, page)) this.#memory.fill(0, at, at + pageBytes)
      if (!isSet(data, page)) continue
      const content = contents.subarray(taken, taken + pageBytes)
      taken += pageBytes
      for (let index = 0; index < pageBytes; index += 1) {
        const before = isXor ? (this.#memory[at + index] ?? 0) : 0
        this.#memory[at + index] = before ^ (content[index] ?? 0)
      }
    }
    if (taken !== contents.length) throw new Error('contents of other pages')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise(resolve => this.#server.close(resolve))
  }
}

function isSet(mask: Uint8Array, page: number): boolean {
  return (((mask[page >> 3] ?? 0) >> (page & 7)) & 1) === 1
}

/** A frame without a payload. */
function mark(kind: number, sequence: number, number: number): Buffer {
  const frame = Buffer.alloc(32)
  frame.write('TVM1')
  frame.writeUInt8(kind, 8)
  frame.writeBigUInt64LE(BigInt(sequence), 16)
  frame.writeBigUInt64LE(BigInt(number), 24)
  frame.writeUInt32LE(crc32c(frame.subarray(8)), 4)
  return frame
}

function speaker(socket: Socket): (message: object) => void {
  let sequence = 0
  return message => {
    const content = packr.pack(message)
    const header = Buffer.alloc(20)
    header.write('TVMC')
    header.writeUInt32LE(content.length, 4)
    header.writeUInt32LE(crc32(content), 8)
    header.writeUInt32LE(sequence++, 12)
    header.writeUInt32LE(crc32(header.subarray(0, 16)), 16)
    socket.write(Buffer.concat([header, content]))
  }
}

async function messageOf(reader: Reader, sequence: number): Promise<unknown> {
  const header = await reader.take(20)
  if (header.subarray(0, 4).toString() !== 'TVMC') throw new Error('no message')
  if (crc32(header.subarray(0, 16)) !== header.readUInt32LE(16)) throw new Error('checksum of a header')
  if (header.readUInt32LE(12) !== sequence) throw new Error('a message is missing')
  const content = await reader.take(header.readUInt32LE(4))
  if (crc32(content) !== header.readUInt32LE(8)) throw new Error('checksum of a message')
  return unpackr.unpack(content)
}

/** So many bytes of a socket at a time. */
class Reader {
  readonly #chunks: AsyncIterator<Buffer>
  #left: Buffer = Buffer.alloc(0)

  constructor(socket: Socket) {
    this.#chunks = socket[Symbol.asyncIterator]()
  }

  async take(length: number): Promise<Buffer> {
    const parts = [this.#left]
    for (let has = this.#left.length; has < length; ) {
      const { value, done } = await this.#chunks.next()
      if (done === true) throw new Error('the connection has ended')
      parts.push(value)
      has += value.length
    }
    const all = Buffer.concat(parts)
    this.#left = all.subarray(length)
    return all.subarray(0, length)
  }
}

/** CRC-32C (Castagnoli), as in RFC 3720, appendix B.4. */
function crc32c(content: Uint8Array): number {
  let crc = 0xffff_ffff
  for (const byte of content) crc = (castagnoli[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8)
  return (crc ^ 0xffff_ffff) >>> 0
}

const castagnoli = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index
  for (let bit = 0; bit < 8; bit += 1) value = (value & 1) === 1 ? (value >>> 1) ^ 0x82f6_3b78 : value >>> 1
  return value
})
