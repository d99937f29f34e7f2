import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { addon, type NativeGuestMemory } from './addon.ts'

const pageBytes = 4096
const pages = 600
const patienceMs = 60_000
const allPages = new Uint8Array(pages / 8).fill(0xff)

function ram(): NativeGuestMemory {
  const memory = new (addon().GuestMemory)()
  const mapping = new (addon().Mapping)({ sizeBytes: pages * pageBytes, backing: 'anonymous' })
  memory.add(0, mapping, 0, mapping.sizeBytes)
  mapping.close()
  return memory
}

function aPath(t: ExecutionContext): string {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-door-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  return join(place, 'socket')
}

/** Both ends of so many connections. */
async function connected(path: string, count: number): Promise<[number[], number[]]> {
  const accepted: number[] = []
  const all = Promise.withResolvers<void>()
  const keeper = new (addon().Doorkeeper)({
    address: { path },
    onConnection: fd => {
      accepted.push(fd)
      if (accepted.length === count) all.resolve()
    },
  })
  const dialled: number[] = []
  for (let index = 0; index < count; index += 1) {
    dialled.push(await new (addon().Dial)({ path }, patienceMs).socket())
  }
  await all.promise
  keeper.close()
  return [dialled, accepted]
}

test('memory goes from one machine to another, in passes', async t => {
  const [from, to] = [ram(), ram()]
  const [sending, receiving] = await connected(aPath(t), 3)
  const passes: number[] = []
  const receiver = new (addon().MemoryReceiver)({
    ...{ memory: to, sockets: receiving, onPass: pass => passes.push(pass) },
    onFailure: error => t.fail(error.message),
  })
  const sender = new (addon().MemorySender)({ memory: from, sockets: sending, deltaBytes: 2 ** 20 })
  from.fill(3 * pageBytes, 7, 10 * pageBytes)
  await sender.send('first', allPages)
  t.deepEqual(to.read(0, pages * pageBytes), from.read(0, pages * pageBytes))
  from.write(4 * pageBytes, Uint8Array.of(1))
  await sender.send('again', new Uint8Array(pages / 8).with(0, 0b0001_1000))
  t.deepEqual(to.read(4 * pageBytes, 2), Uint8Array.of(1, 7))
  const { bytesSent, ...counted } = sender.counters()
  t.deepEqual(counted, {
    ...{ pagesDone: 2, pagesTotal: 2, zeroPages: pages - 10 },
    ...{ samePages: 1, deltaPages: 1, wholePages: 10 },
  })
  t.true(bytesSent > 0 && bytesSent < 4096)
  t.is(receiver.counters().pagesReceived, 11)
  while (passes.length < 2) await new Promise(setImmediate)
  t.deepEqual(passes, [1, 2])
  receiver.close()
  sender.close()
  sender.close()
  t.throws(() => sender.counters(), { message: 'MemorySender is closed' })
})

test('a pass that is cut rejects, and so does one whose receiver has gone', async t => {
  const [sending, receiving] = await connected(aPath(t), 2)
  const sender = new (addon().MemorySender)({ memory: ram(), sockets: sending })
  const first = sender.send('first', allPages)
  t.throws(() => void sender.send('again', allPages), { code: 'EBUSY' })
  sender.cut()
  await t.throwsAsync(first, { code: 'ECANCELED' })
  await t.throwsAsync(sender.send('again', allPages), { code: 'ECANCELED' })
  const failed = Promise.withResolvers<Error>()
  const receiver = new (addon().MemoryReceiver)({
    ...{ memory: ram(), sockets: receiving, onPass: () => {} },
    onFailure: failed.resolve,
  })
  t.like(await failed.promise, { code: 'ECONNRESET' })
  receiver.close()
  sender.close()
  const [again, gone] = await connected(aPath(t), 1)
  const lonely = new (addon().MemorySender)({ memory: ram(), sockets: again, stallMs: 50 })
  await t.throwsAsync(lonely.send('first', allPages), { code: 'ETIMEDOUT' })
  lonely.close()
  for (const fd of gone) new Socket({ fd }).destroy()
})

test('a pass that is closed under way rejects', async t => {
  const [sending, receiving] = await connected(aPath(t), 1)
  const sender = new (addon().MemorySender)({ memory: ram(), sockets: sending })
  const first = sender.send('first', allPages)
  sender.close()
  await t.throwsAsync(first, { code: 'ECANCELED' })
  for (const fd of receiving) new Socket({ fd }).destroy()
})

test('what is no option of a transfer is said', t => {
  const memory = ram()
  const make = (options: object) => Reflect.construct(addon().MemorySender, [options])
  t.throws(() => make({ memory, sockets: 3 }), { message: 'sockets must be an array' })
  t.throws(() => make({ memory, sockets: [] }), { code: 'EINVAL' })
  t.throws(() => Reflect.construct(addon().MemoryReceiver, [{ memory, sockets: [] }]), {
    message: 'onPass and onFailure must be functions',
  })
  t.throws(() => Reflect.construct(addon().MemoryReceiver, []), { message: 'sockets must be an array' })
  t.throws(() => Reflect.construct(addon().Doorkeeper, [{}]), { message: /options must be an object/ })
  t.throws(() => new (addon().Dial)({ host: 'localhost', port: 1 }, 1), { code: 'EINVAL' })
})

test('who greets is let in, over the network, too', async t => {
  const greetings: string[] = []
  const come = Promise.withResolvers<Socket>()
  // This process's own: on a common one somebody else may listen at the port once it is free.
  const host = `127.${process.pid >> 16}.${(process.pid >> 8) & 0xff}.${process.pid & 0xff || 1}`
  const keeper = new (addon().Doorkeeper)({
    ...{ address: { host, port: 0 }, greetingBytes: 5, patienceMs },
    onConnection: (fd, greeting) => {
      greetings.push(Buffer.from(greeting).toString())
      come.resolve(new Socket({ fd }))
    },
  })
  const fd = await new (addon().Dial)({ host, port: keeper.port }, patienceMs).socket()
  const client = new Socket({ fd })
  client.write('hello, world')
  const server = await come.promise
  const [rest] = await once(server, 'data')
  t.is(String(rest), ', world')
  t.deepEqual(greetings, ['hello'])
  server.end('bye')
  t.is(String((await once(client, 'data'))[0]), 'bye')
  client.destroy()
  keeper.close()
  await t.throwsAsync(new (addon().Dial)({ host, port: keeper.port }, patienceMs).socket(), {
    code: 'ECONNREFUSED',
  })
})

test('a socket file is gone with its doorkeeper', t => {
  const path = aPath(t)
  const listen = () => new (addon().Doorkeeper)({ address: { path }, onConnection: () => {} })
  const keeper = listen()
  t.throws(listen, { code: 'EADDRINUSE' })
  keeper.close()
  keeper.close()
  t.deepEqual(readdirSync(join(path, '..')), [])
  t.throws(() => keeper.admit(0x7fff), { message: 'Doorkeeper is closed' })
})

test('what has not arrived comes when it is asked for, and the rest by itself', async t => {
  const [from, to] = [ram(), ram()]
  const [sending, receiving] = await connected(aPath(t), 3)
  const asked = { sending: sending.pop() ?? -1, receiving: receiving.pop() ?? -1 }
  from.fill(0, 7, pages * pageBytes)
  const receiver = new (addon().MemoryReceiver)({
    ...{ memory: to, sockets: receiving, onPass: () => {}, onFailure: () => {} },
  })
  const sender = new (addon().MemorySender)({ memory: from, sockets: sending })
  const complete = Promise.withResolvers<void>()
  const late = new (addon().LateMemory)({
    ...{ memory: to, missing: allPages, receiver, onComplete: complete.resolve },
    onFailure: error => t.fail(error.message),
  })
  t.deepEqual(
    late.missing(),
    Uint8Array.from([...allPages, ...new Uint8Array(late.missing().length - allPages.length)]),
  )
  t.throws(() => void sender.sendRest(), { code: 'EINVAL' })
  sender.answer(asked.sending, patienceMs, late.missing())
  late.askAt(asked.receiving, patienceMs)
  t.deepEqual(to.read(300 * pageBytes, 2), Uint8Array.of(7, 7))
  t.is(late.counters().faults, 1)
  await sender.sendRest()
  await complete.promise
  t.is(late.counters().pagesMissing, 0)
  t.deepEqual(to.read(0, pages * pageBytes), from.read(0, pages * pageBytes))
  receiver.close()
  late.close()
  sender.close()
  t.throws(() => late.missing(), { message: 'LateMemory is closed' })
})
