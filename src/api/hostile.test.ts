import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import fc from 'fast-check'
import * as z from 'zod/mini'
import { routes } from './routes.ts'
import { errorSchema } from './schemas.ts'
import { RawClient } from './testing/raw-client.ts'
import { ServedVmm } from './testing/served-vmm.ts'

/** What ends the machine, or lets it stand still, is not to be told from a mistake. */
const endings = ['/vmm.shutdown', '/vm.shutdown', '/vm.delete', '/vm.pause']
const paths = routes.map(({ path }) => path).filter(path => !endings.includes(path))

const method = fc.constantFrom('GET', 'PUT', 'POST', 'DELETE', 'PATCH', 'OPTIONS', 'BREW')
const path = fc.oneof(fc.constantFrom(...paths), fc.webPath())
const body = fc.oneof(
  fc.json(),
  fc.constant('{"payload":{"kernel":"k"}}'),
  fc.string({ maxLength: 200 }),
  fc.constant('x'.repeat(100_000)),
)

/** A request as bytes, whole or not, true to its length or not. */
const request = fc
  .record({
    method,
    path,
    body,
    lie: fc.constantFrom(0, 0, 0, 7, -1),
    kept: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ method, path, body, lie, kept }) => {
    const length = Math.max(0, Buffer.byteLength(body, 'latin1') + lie)
    const text = `${method} /api/v1${path} HTTP/1.1\r\nContent-Length: ${length}\r\n\r\n${body}`
    return kept < 0.3 ? text.slice(0, Math.floor((text.length * kept) / 0.3)) : text
  })

/** Takes answers apart; throws where one is not whole. */
function* answersIn(received: string): Generator<{ status: number; body: string }> {
  for (let rest = received; rest !== ''; ) {
    const head = /^HTTP\/1\.1 (?:100 Continue|(\d{3}) )\r\n(?:[^\r]+\r\n)*\r\n/.exec(rest)
    if (head === null) throw new Error(`this is no answer: ${JSON.stringify(rest)}`)
    const length = Number(/\r\nContent-Length: (\d+)\r\n/.exec(head[0])?.[1] ?? 0)
    const body = rest.slice(head[0].length, head[0].length + length)
    if (body.length !== length) throw new Error(`this is not a whole answer: ${JSON.stringify(rest)}`)
    yield { status: Number(head[1] ?? 100), body }
    rest = rest.slice(head[0].length + length)
  }
}

test('whatever ten thousand requests are, each answer is whole, and the machine runs on', async t => {
  await using served = await ServedVmm.start()
  await served.put('/vm.create', { payload: { kernel: 'k' } })
  await served.put('/vm.boot')
  let sent = 0
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 5 }), async requests => {
      using client = new RawClient(served.socketPath)
      for (const text of requests) client.send(text)
      client.socket.end()
      sent += requests.length
      for (const { status, body } of answersIn(await client.rest())) {
        if (status >= 400 && body !== '') t.true(z.safeParse(errorSchema, JSON.parse(body)).success, body)
      }
    }),
    { numRuns: 5_000 },
  )
  t.true(sent >= 10_000, `${sent} were sent`)
  t.like(await served.get('/vm.info'), { status: 200, json: { state: 'Running' } })
})

test('fifty clients at once are all answered or turned away', async t => {
  await using served = await ServedVmm.start()
  const statuses = await Promise.all(
    Array.from({ length: 50 }, async (_, index) => {
      using client = new RawClient(served.socketPath)
      client.send(`GET /api/v1/vmm.ping HTTP/1.1\r\nConnection: close\r\nX: ${index}\r\n\r\n`)
      return /^HTTP\/1\.1 (\d+) /.exec(await client.rest())?.[1]
    }),
  )
  t.true(
    statuses.every(status => status === '200' || status === '503'),
    statuses.join(' '),
  )
  t.true(statuses.filter(status => status === '200').length >= 10)
  while ((await served.get('/vmm.ping')).status !== 200) await turn()
})

test('a client that reads slowly gets all of what it asked for', async t => {
  await using served = await ServedVmm.start()
  const expected = await served.get('/tsvmm.openapi')
  using slow = new RawClient(served.socketPath)
  slow.socket.on('data', () => {
    slow.socket.pause()
    setTimeout(() => slow.socket.resume(), 5)
  })
  slow.send('GET /api/v1/tsvmm.openapi HTTP/1.1\r\n\r\n'.repeat(4))
  slow.socket.end()
  const answers = [...answersIn(await slow.rest())]
  t.is(answers.length, 4)
  for (const { status, body } of answers) t.deepEqual([status, body], [200, expected.text])
})

test('a client that reads nothing holds nobody up', async t => {
  await using served = await ServedVmm.start()
  using deaf = new RawClient(served.socketPath)
  deaf.socket.pause()
  for (let sent = 0; sent < 2_000 && !deaf.isEnded; sent += 1) {
    deaf.send('GET /api/v1/tsvmm.openapi HTTP/1.1\r\n\r\n')
    if (sent % 10 === 0) await turn()
  }
  t.is((await served.get('/vmm.ping')).status, 200)
})
