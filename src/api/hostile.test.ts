import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import fc from 'fast-check'
import { routes } from './routes.ts'
import { RawClient } from './testing/raw-client.ts'
import { ServedVmm } from './testing/served-vmm.ts'

const paths = routes.map(({ path }) => path).filter(path => path !== '/vmm.shutdown')

const method = fc.constantFrom('GET', 'PUT', 'POST', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS', 'BREW')
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

test('whatever clients send, each answer is whole, and the server goes on answering', async t => {
  await using served = await ServedVmm.start()
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 5 }), async requests => {
      using client = new RawClient(served.socketPath)
      for (const text of requests) client.send(text)
      client.socket.end()
      const answers = await client.rest()
      for (const answer of answers.split(/(?=HTTP\/1\.1 )/)) {
        if (answer !== '') t.regex(answer, /^HTTP\/1\.1 (100 Continue|\d{3} )\r\n/)
      }
    }),
    { numRuns: 500 },
  )
  t.is((await served.get('/vmm.ping')).status, 200)
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
