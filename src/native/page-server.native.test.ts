import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import { addon, type NativeGuestMemory } from './addon.ts'
import type { NativePageServer, PageServerOptions } from './page-server.ts'
import { op, TinyGuest } from './testing/tiny-guest.native.ts'

const pageBytes = 4096
const done = 0x40

/** Pages of one byte each: n + 1 all over in page n. */
function imageOf(pages: number): Buffer {
  return Buffer.concat(Array.from({ length: pages }, (_, page) => Buffer.alloc(pageBytes, page + 1)))
}

function temporaryFolder(): { readonly path: string; [Symbol.dispose](): void } {
  const path = mkdtempSync(join(tmpdir(), 'tsvmm-pages-'))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) }
}

/** A started server of the image in a file, and what it told. */
class Served {
  readonly server: NativePageServer
  readonly failure: Promise<string>

  constructor(memory: NativeGuestMemory, bytes: Uint8Array, options: Partial<PageServerOptions> = {}) {
    using folder = temporaryFolder()
    const path = join(folder.path, 'ram')
    writeFileSync(path, bytes)
    const fd = openSync(path, 'r')
    const { promise, resolve } = Promise.withResolvers<string>()
    this.failure = promise
    this.server = new (addon().PageServer)({ memory, source: { fd }, onFailure: resolve, ...options })
    closeSync(fd)
    this.server.start()
  }

  [Symbol.dispose](): void {
    this.server.close()
  }
}

function makeMemory(pages: number, backing: 'anonymous' | 'memfd' = 'anonymous') {
  const mapping = new (addon().Mapping)({ sizeBytes: pages * pageBytes, backing, shared: backing === 'memfd' })
  const memory = new (addon().GuestMemory)()
  memory.add(0x10_0000, mapping, pageBytes, (pages - 1) * pageBytes)
  memory.add(0, mapping, 0, pageBytes)
  return { memory, mapping }
}

test('a guest and JavaScript find what was saved', async t => {
  using guest = new TinyGuest()
  using served = new Served(guest.memory, imageOf(8))
  const out = guest.recordPort(done)
  guest.addVcpu(op.load32(0x3ffc), op.outEax(done), op.load32(0x5000), op.outEax(done), op.haltForever)
  guest.run()
  await out.until(2)
  t.deepEqual(out.values, [0x0404_0404, 0x0606_0606])
  t.deepEqual(guest.memory.read(0x7fff, 1), Uint8Array.of(8))
  t.true(served.server.counters().faults > 0n)
  await guest.park()
})

test('a guest that touches a page that cannot be had goes no further', async t => {
  using guest = new TinyGuest()
  using served = new Served(guest.memory, imageOf(6))
  const out = guest.recordPort(done)
  guest.addVcpu(op.load32(0x6000), op.outEax(done), op.haltForever)
  guest.run()
  t.regex(await served.failure, /^page 6 of the memory image: .*past the end/)
  const parked = guest.park()
  served.server.abandon()
  await parked
  t.deepEqual(out.values, [])
  t.deepEqual(guest.memory.read(0x6000, 1), Uint8Array.of(0))
})

test('the thread that would have to stop the machine does not wait for a page that cannot be had', async t => {
  const { memory } = makeMemory(8)
  using served = new Served(memory, imageOf(6))
  t.deepEqual(memory.read(0x10_0000 + 6 * pageBytes, 1), Uint8Array.of(0))
  t.regex(await served.failure, /past the end/)
  t.false(await served.server.fill())
})

test('the image has the ranges in ascending order, whatever the memory', async t => {
  for (const backing of ['anonymous', 'memfd'] as const) {
    const { memory, mapping } = makeMemory(64, backing)
    using served = new Served(memory, imageOf(64), { threads: 1 })
    t.deepEqual(memory.read(0, 1), Uint8Array.of(1))
    t.deepEqual(memory.read(0x10_0000 + 40 * pageBytes, 1), Uint8Array.of(42))
    t.deepEqual(served.server.recorded(), Uint32Array.of(0, 41))
    t.true(await served.server.fill())
    t.is(served.server.counters().pagesMissing, 0n)
    t.deepEqual(memory.read(0x10_0000 + 62 * pageBytes, 1), Uint8Array.of(64))
    mapping.discard()
    t.deepEqual(memory.read(0, 1), Uint8Array.of(0))
  }
})

test('memory given back while it is restored reads as zeroes', async t => {
  const { memory, mapping } = makeMemory(64)
  using served = new Served(memory, imageOf(64))
  memory.write(0, Uint8Array.of(9))
  mapping.discard()
  t.deepEqual(memory.read(0, 2), Uint8Array.of(0, 0))
  t.true(await served.server.fill())
  t.deepEqual(memory.read(0x10_0000, 1), Uint8Array.of(0))
})

test('a list of pages is brought in before anybody asks', async t => {
  const { memory } = makeMemory(64)
  using served = new Served(memory, imageOf(64), { prefetch: Uint32Array.of(40, 2 ** 32 - 1) })
  while (served.server.counters().pagesPrefetched < 16n) await new Promise(setImmediate)
  t.deepEqual(memory.read(0x10_0000 + 39 * pageBytes, 1), Uint8Array.of(41))
  t.is(served.server.counters().faults, 0n)
})

test('a fill can be slow, cancelled, and cut short', async t => {
  const { memory } = makeMemory(1024)
  const served = new Served(memory, imageOf(255))
  const slow = served.server.fill(pageBytes)
  t.throws(() => served.server.fill(), { code: 'EBUSY' })
  served.server.cancelFill()
  t.false(await slow)
  const last = served.server.fill(pageBytes)
  served.server.close()
  t.false(await last)
  served.server.close()
  t.throws(() => served.server.counters(), { message: /closed/ })
})

test('arguments are checked', t => {
  const { memory } = makeMemory(8)
  const onFailure = () => {}
  const make = (options: object) => Reflect.construct(addon().PageServer, [{ memory, onFailure, ...options }])
  t.throws(() => make({}), { message: /source/ })
  t.throws(() => make({ source: { fd: -1 } }), { instanceOf: RangeError })
  t.throws(() => make({ source: { fd: 2 ** 30 } }), { code: 'EBADF' })
  t.throws(() => make({ source: { fd: 0 }, threads: 0 }), { instanceOf: RangeError })
  t.throws(() => make({ source: { fd: 0 }, prefetch: [1] }), { message: /prefetch/ })
  t.throws(() => make({ source: { fd: 0 }, prefetch: Uint8Array.of(1) }), { message: /prefetch/ })
  t.throws(() => make({ source: { fd: 0 }, onFailure: 1 }), { message: /onFailure/ })
  t.throws(() => make({ source: { fd: 0 }, memory: {} }), { message: /memory/ })
  const server: NativePageServer = make({ source: { fd: 0 } })
  t.throws(() => server.fill(), { message: /not running/ })
  server.start()
  t.throws(() => server.start(), { message: /running/ })
  const second: NativePageServer = make({ source: { fd: 0 } })
  t.throws(() => second.start(), { code: 'EBUSY' })
  server.close()
  second.start()
  second.close()
})

test('another process gets the mappings, and its end is told while the guest waits', async t => {
  using folder = temporaryFolder()
  const handlerSocket = join(folder.path, 'handler.sock')
  const script = `require('node:net').createServer(socket => socket.pipe(process.stdout)).listen(process.argv[1],
    () => process.stdout.write('\\n'))`
  const handler = spawn(process.execPath, ['-e', script, handlerSocket], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(handler.stdout, 'data')
  using guest = new TinyGuest()
  const out = guest.recordPort(done)
  guest.addVcpu(op.load32(0x6000), op.outEax(done), op.haltForever)
  const failure = Promise.withResolvers<string>()
  const server = new (addon().PageServer)({ memory: guest.memory, handlerSocket, onFailure: failure.resolve })
  server.start()
  const [text] = await once(handler.stdout, 'data')
  const [mapping] = JSON.parse(String(text))
  t.like(mapping, { size: 0x8000, offset: 0, page_size: pageBytes, page_size_kib: pageBytes })
  t.throws(() => server.counters(), { message: /another process/ })
  guest.run()
  handler.kill('SIGKILL')
  t.regex(await failure.promise, /has gone/)
  const parked = guest.park()
  server.abandon()
  await parked
  t.deepEqual(out.values, [])
  t.deepEqual(guest.memory.read(0x6000, 1), Uint8Array.of(0))
  server.close()
})

test('an environment may end while a server runs', async t => {
  const address = JSON.stringify(new URL('./addon.ts', import.meta.url).href)
  const worker = new Worker(
    `const { addon } = await import(${address})
     const { Mapping, GuestMemory, PageServer } = addon()
     const mapping = new Mapping({ sizeBytes: 8192, backing: 'anonymous' })
     const memory = new GuestMemory()
     memory.add(0, mapping, 0, 8192)
     const server = new PageServer({ memory, source: { fd: 0 }, onFailure() {} })
     server.start()
     server.fill(1).then(() => {})
     setTimeout(() => process.exit(7), 1)`,
    { eval: true },
  )
  const [code] = await once(worker, 'exit')
  t.is(code, 7)
})
