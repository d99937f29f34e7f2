import { closeSync, ftruncateSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import { addon, type NativeEventFd, type NativeGuestMemory } from './addon.ts'
import type { BlockEngineOptions, Vring } from './engines.ts'

const ram = 0x10_0000
const ramBytes = 0x10_0000
const data = ram + 0x8_0000
const readable = 0
const writable = 2
const next = 1

/** The driver's side of a small split virtqueue. */
class Driver {
  readonly memory: NativeGuestMemory
  readonly vring: Vring
  readonly interrupt: NativeEventFd
  #available = 0

  constructor(memory: NativeGuestMemory, index = 0) {
    const base = ram + index * 0x1_0000
    const { EventFd } = addon()
    this.memory = memory
    this.interrupt = new EventFd()
    this.vring = {
      index,
      sizeEntries: 8,
      descriptorTable: base,
      availableRing: base + 0x1000,
      usedRing: base + 0x2000,
      nextAvailable: 0,
      nextUsed: 0,
      doorbell: new EventFd(),
      interrupt: this.interrupt,
    }
  }

  offer(first: number, ...buffers: { address: number; bytes: number; flags: number }[]): void {
    for (const [number, { address, bytes, flags }] of buffers.entries()) {
      const isLast = number === buffers.length - 1
      const entry = new DataView(new ArrayBuffer(16))
      entry.setBigUint64(0, BigInt(address), true)
      entry.setUint32(8, bytes, true)
      entry.setUint16(12, flags | (isLast ? 0 : next), true)
      entry.setUint16(14, first + number + 1, true)
      this.memory.write(this.vring.descriptorTable + (first + number) * 16, new Uint8Array(entry.buffer))
    }
    const slot = this.#available % this.vring.sizeEntries
    this.memory.write(this.vring.availableRing + 4 + 2 * slot, Uint8Array.of(first, 0))
    this.#available += 1
    this.memory.write(this.vring.availableRing + 2, Uint8Array.of(this.#available, 0))
    this.vring.doorbell.signal()
  }

  usedIndex(): number {
    return this.memory.read(this.vring.usedRing + 2, 1)[0] ?? 0
  }

  async waitUsed(index: number): Promise<void> {
    for (let round = 0; round < 1000 && this.usedIndex() !== index; round++) await sleep(5)
    if (this.usedIndex() !== index) throw new Error(`the used index is ${this.usedIndex()}, not ${index}`)
  }
}

const sleep = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))

function guestMemory(): NativeGuestMemory {
  const memory = new (addon().GuestMemory)()
  memory.add(ram, new (addon().Mapping)({ sizeBytes: ramBytes, backing: 'anonymous' }), 0, ramBytes)
  return memory
}

function blockOptions(memory: NativeGuestMemory, fd: number): BlockEngineOptions {
  return {
    name: '_disk0',
    memory,
    fd,
    sizeBytes: 1024 * 1024,
    readOnly: false,
    alignmentBytes: 1,
    serial: Buffer.from('serial'),
    sparse: true,
    onFailure: () => {},
    onFault: () => {},
  }
}

function temporaryDisk(): { fd: number; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-'))
  const fd = openSync(join(folder, 'disk.img'), 'wx+')
  ftruncateSync(fd, 1024 * 1024)
  return {
    fd,
    remove: () => {
      closeSync(fd)
      rmSync(folder, { recursive: true })
    },
  }
}

function mailbox(memory: NativeGuestMemory, maximumReadableBytes = 4096) {
  const chains: { queue: number; head: number; text: string; writableBytes: number }[] = []
  const failures: string[] = []
  const engine = new (addon().MailboxEngine)({
    name: '__rng',
    memory,
    maximumReadableBytes,
    onChain: (queue, head, bytes, writableBytes) => {
      chains.push({ queue, head, text: Buffer.from(bytes).toString(), writableBytes })
    },
    onFailure: (queue, reason) => failures.push(`${queue}: ${reason}`),
  })
  const waitChains = async (count: number) => {
    for (let round = 0; round < 1000 && chains.length < count; round++) await sleep(5)
    return chains
  }
  const waitFailure = async () => {
    for (let round = 0; round < 1000 && failures.length === 0; round++) await sleep(5)
    return failures[0]
  }
  return { engine, waitChains, waitFailure }
}

test('a disk engine reads the file into guest memory and names its thread', async t => {
  const memory = guestMemory()
  const disk = temporaryDisk()
  t.teardown(disk.remove)
  writeSync(disk.fd, 'disk content', 512)
  const engine = new (addon().BlockEngine)(blockOptions(memory, disk.fd))
  const driver = new Driver(memory)
  memory.write(data, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0))
  engine.start([driver.vring], 0n)
  driver.offer(
    0,
    { address: data, bytes: 16, flags: readable },
    { address: data + 0x1000, bytes: 512, flags: writable },
    { address: data + 0x2000, bytes: 1, flags: writable },
  )
  await driver.waitUsed(1)
  t.is(Buffer.from(memory.read(data + 0x1000, 12)).toString(), 'disk content')
  t.true(driver.interrupt.isPending())
  t.throws(() => engine.grow(0), { instanceOf: RangeError })
  t.like(engine.counters(), { read_bytes: 512n, read_ops: 1n, write_bytes: 0n, write_ops: 0n })
  const names = readThreadNames()
  t.true(names.includes('_disk0_q0'), names.join(' '))
  t.deepEqual(await engine.stop(), [{ index: 0, nextAvailable: 1, nextUsed: 1 }])
  t.false(readThreadNames().includes('_disk0_q0'))
  engine.close()
})

test('stopping twice, at once or one after the other, is stopping once', async t => {
  const memory = guestMemory()
  const { engine } = mailbox(memory)
  t.deepEqual(await engine.stop(), [], 'before any start')
  engine.start([new Driver(memory).vring], 0n)
  const [first, second] = await Promise.all([engine.stop(), engine.stop()])
  t.deepEqual(first, [{ index: 0, nextAvailable: 0, nextUsed: 0 }])
  t.deepEqual(second, first)
  t.deepEqual(await engine.stop(), [])
  engine.close()
  engine.close()
  t.deepEqual(await engine.stop(), [], 'after close')
})

test('closing a running or stopping engine ends it and settles the promise', async t => {
  const memory = guestMemory()
  const { engine } = mailbox(memory)
  engine.start([new Driver(memory).vring], 0n)
  const stopped = engine.stop()
  engine.close()
  t.is((await stopped).length, 1)
  const other = mailbox(memory).engine
  other.start([new Driver(memory).vring], 0n)
  other.close()
  t.throws(() => other.start([], 0n), { message: /closed/ })
  t.throws(() => other.counters(), { message: /closed/ })
  t.throws(() => other.setMode(1), { message: /closed/ })
  t.notThrows(() => other.complete(0, 0, new Uint8Array(0)), 'an answer may be late')
})

test('an engine that is running cannot be started', t => {
  const memory = guestMemory()
  const { engine } = mailbox(memory)
  engine.start([new Driver(memory).vring], 0n)
  t.throws(() => engine.start([new Driver(memory).vring], 0n), { message: /running/ })
  engine.close()
})

test('wrong rings are range errors that name the queue', t => {
  const memory = guestMemory()
  const { engine } = mailbox(memory)
  const { vring } = new Driver(memory, 3)
  const wrong: [Partial<Vring>, RegExp][] = [
    [{ usedRing: 0 }, /queue 3: the used ring is not in one run of guest memory/],
    [{ descriptorTable: Number.MAX_SAFE_INTEGER - 15 }, /queue 3: the descriptor table/],
    [{ availableRing: vring.availableRing + 1 }, /aligned/],
    [{ sizeEntries: 7 }, /power of two/],
    [{ index: 65536 }, /index is out of range/],
    [{ nextUsed: -1 }, /nextUsed is out of range/],
  ]
  for (const [change, message] of wrong) {
    t.throws(() => engine.start([{ ...vring, ...change }], 0n), { instanceOf: RangeError, message })
  }
  t.throws(() => engine.start([vring, vring], 0n), { instanceOf: RangeError, message: /given twice/ })
  t.notThrows(() => engine.start([vring], 0n))
  engine.close()
})

test('wrong types are type errors', t => {
  const memory = guestMemory()
  const disk = temporaryDisk()
  t.teardown(disk.remove)
  const { BlockEngine, NetEngine, MailboxEngine, Tap } = addon()
  const options = blockOptions(memory, disk.fd)
  for (const Engine of [BlockEngine, NetEngine, MailboxEngine, Tap]) {
    t.throws(() => Reflect.construct(Engine, [undefined]), { instanceOf: TypeError })
    t.throws(() => Reflect.construct(Engine, [{}]), { instanceOf: TypeError })
  }
  t.throws(() => Reflect.construct(BlockEngine, [{ ...options, memory: {} }]), { instanceOf: TypeError })
  t.throws(() => Reflect.construct(BlockEngine, [{ ...options, onFailure: 1 }]), { instanceOf: TypeError })
  t.throws(() => new BlockEngine({ ...options, fd: -1 }), { instanceOf: RangeError })
  t.throws(() => new BlockEngine({ ...options, fd: 1_000_000 }), { code: 'EBADF' })
  t.throws(() => new BlockEngine({ ...options, alignmentBytes: 3 }), { instanceOf: RangeError })
  t.throws(() => new BlockEngine({ ...options, serial: new Uint8Array(21) }), { instanceOf: RangeError })
  t.throws(() => new NetEngine({ name: '_net0', memory, tapFds: [], onFailure: () => {} }), { instanceOf: TypeError })
  const engine = new BlockEngine(options)
  t.throws(() => Reflect.apply(engine.start, engine, [1, 0n]), { instanceOf: TypeError })
  t.throws(() => Reflect.apply(engine.start, engine, [[1], 0n]), { instanceOf: TypeError })
  t.throws(() => Reflect.apply(engine.start, engine, [[], 0]), { instanceOf: TypeError })
  t.throws(() => engine.start([], -1n), { instanceOf: RangeError })
  engine.close()
})

test('a mailbox hands over copies and takes answers', async t => {
  const memory = guestMemory()
  const { engine, waitChains } = mailbox(memory)
  const driver = new Driver(memory, 2)
  engine.start([driver.vring], 0n)
  memory.write(data, Buffer.from('ask'))
  driver.offer(4, { address: data, bytes: 3, flags: readable }, { address: data + 0x100, bytes: 8, flags: writable })
  const [chain] = await waitChains(1)
  t.deepEqual(chain, { queue: 2, head: 4, text: 'ask', writableBytes: 8 })
  t.throws(() => engine.complete(2, 4, new Uint8Array(9)), { instanceOf: RangeError })
  t.throws(() => engine.complete(2, 5, new Uint8Array(0)), { instanceOf: RangeError })
  t.throws(() => engine.complete(1, 4, new Uint8Array(0)), { instanceOf: RangeError })
  engine.complete(2, 4, Buffer.from('answer'))
  t.is(driver.usedIndex(), 1)
  t.is(Buffer.from(memory.read(data + 0x100, 6)).toString(), 'answer')
  t.throws(() => engine.complete(2, 4, new Uint8Array(0)), { instanceOf: RangeError }, 'once only')
  engine.close()
})

test('a chain not completed at stop is offered again, and its late answer is ignored', async t => {
  const memory = guestMemory()
  const { engine, waitChains } = mailbox(memory)
  const driver = new Driver(memory)
  engine.start([driver.vring], 0n)
  driver.offer(1, { address: data, bytes: 8, flags: writable })
  const [early] = await waitChains(1)
  const [position] = await engine.stop()
  t.deepEqual(position, { index: 0, nextAvailable: 0, nextUsed: 0 })
  engine.start([{ ...driver.vring, ...position }], 0n)
  const again = (await waitChains(2))[1]
  engine.complete(0, early?.head ?? 0, Buffer.from('late'))
  t.is(driver.usedIndex(), 0)
  engine.complete(0, again?.head ?? 0, Buffer.from('in time'))
  t.is(driver.usedIndex(), 1)
  t.is(Buffer.from(memory.read(data, 7)).toString(), 'in time')
  engine.close()
})

test('a malformed queue is reported once, with its reason', async t => {
  const memory = guestMemory()
  const { engine, waitFailure } = mailbox(memory, 16)
  const driver = new Driver(memory, 1)
  engine.start([driver.vring], 0n)
  driver.offer(0, { address: ram + ramBytes, bytes: 1, flags: readable })
  t.is(await waitFailure(), '1: a buffer outside guest memory')
  t.is(driver.usedIndex(), 0)
  engine.close()
})

test('a callback may stop or close its engine', async t => {
  const memory = guestMemory()
  const driver = new Driver(memory)
  const seen = Promise.withResolvers<number>()
  let calls = 0
  const engine = new (addon().MailboxEngine)({
    name: '__console',
    memory,
    maximumReadableBytes: 16,
    onChain: () => {
      calls += 1
      engine.close()
      setTimeout(() => seen.resolve(calls), 50)
    },
    onFailure: () => {},
  })
  engine.start([driver.vring], 0n)
  for (const head of [0, 1, 2]) driver.offer(head, { address: data, bytes: 1, flags: readable })
  t.is(await seen.promise, 1)
})

test('an engine that was dropped while running is ended with its environment', async t => {
  const source = `
    const addon = require(${JSON.stringify(process.env['TSVMM_ADDON'] ?? new URL('../../build/tsvmm.node', import.meta.url).pathname)})
    const memory = new addon.GuestMemory()
    memory.add(${ram}, new addon.Mapping({ sizeBytes: ${ramBytes}, backing: 'anonymous' }), 0, ${ramBytes})
    const engine = new addon.MailboxEngine({ name: '__dropped', memory, maximumReadableBytes: 16, onChain() {}, onFailure() {} })
    engine.start([{ index: 0, sizeEntries: 8, descriptorTable: ${ram}, availableRing: ${ram + 0x1000},
      usedRing: ${ram + 0x2000}, nextAvailable: 0, nextUsed: 0, doorbell: new addon.EventFd(), interrupt: new addon.EventFd() }], 0n)`
  const worker = new Worker(source, { eval: true })
  const exit = await new Promise(resolve => worker.once('exit', resolve))
  t.is(exit, 0)
  t.false(readThreadNames().includes('__dropped'))
})

function readThreadNames(): string[] {
  return readdirSync('/proc/self/task').flatMap(id => {
    try {
      return [readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim()]
    } catch {
      return []
    }
  })
}

test('a rate limiter is made of limits that can be kept, and has what is left of them', t => {
  const { RateLimiter } = addon()
  const limiter = new RateLimiter({ bytes: { size: 1000, oneTimeBurst: 50, refillMs: 2 ** 32 - 1 } })
  t.deepEqual(limiter.levels(), { bytes: { burst: 50, budget: 1000 } })
  limiter.setLevels({ bytes: { burst: 60, budget: -7 }, operations: { burst: 1, budget: 1 } })
  t.deepEqual(limiter.levels(), { bytes: { burst: 50, budget: -7 } })
  const bucket = { size: 1, oneTimeBurst: 0, refillMs: 1 }
  for (const wrong of [{ size: 0 }, { refillMs: 0 }, { size: -1 }, { oneTimeBurst: 1.5 }, { refillMs: 2 ** 53 }]) {
    t.throws(() => new RateLimiter({ operations: { ...bucket, ...wrong } }), undefined, JSON.stringify(wrong))
  }
  const engine = { name: '_disk0', limiter: {} }
  t.throws(() => Reflect.construct(addon().BlockEngine, [engine]), { instanceOf: TypeError })
})
