import { existsSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import * as z from 'zod/mini'
import { maximumBodyBytes } from './request-body.ts'
import { apiRoot, routes } from './routes.ts'
import { RawClient } from './testing/raw-client.ts'
import { ServedVmm } from './testing/served-vmm.ts'

const config = { payload: { kernel: 'k' }, disks: [{ path: 'd' }] }

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn()
}

test('a machine is created, driven and ended as clients of Cloud Hypervisor do it', async t => {
  await using served = await ServedVmm.start()
  const ping = await served.get('/vmm.ping')
  t.is(ping.status, 200)
  t.deepEqual(ping.json, { build_version: 'tsvmm v1', version: '53.0.0', pid: process.pid, features: [] })
  t.is((await served.get('/vm.info')).status, 404)
  t.is((await served.put('/vm.create', config)).status, 204)
  t.like((await served.get('/vm.info')).json, { state: 'Created', config: { cpus: { boot_vcpus: 1, max_vcpus: 1 } } })
  for (const [path, state] of [
    ...[['boot', 'Running'] as const, ['pause', 'Paused'] as const, ['resume', 'Running'] as const],
    ...[['reboot', 'Running'] as const, ['power-button', 'Running'] as const, ['nmi', 'Running'] as const],
    ...[['shutdown', 'Created'] as const, ['boot', 'Running'] as const],
  ]) {
    const { status, text, headers } = await served.put(`/vm.${path}`)
    t.is(status, 204, path)
    t.is(text, '')
    t.false('content-length' in headers)
    t.like((await served.get('/vm.info')).json, { state })
  }
  t.deepEqual((await served.get('/vm.counters')).json, { _disk0: { read_bytes: 4096, read_ops: 1 } })
  t.is((await served.put('/vm.delete')).status, 204)
  t.is((await served.get('/vm.info')).status, 404)
  const last = await served.put('/vmm.shutdown')
  t.is(last.status, 200)
  t.is(last.text, '')
  t.deepEqual(await served.vmm.wait(), { kind: 'closed' })
})

test('errors are JSON arrays, the outermost reason first, with the status of their kind', async t => {
  await using served = await ServedVmm.start()
  const cases: readonly [method: string, path: string, body: string | undefined, status: number, reasons: unknown][] = [
    ['GET', '/vm.nowhere', undefined, 404, ['Not Found', 'there is no /api/v1/vm.nowhere']],
    ['GET', '/vm.boot', undefined, 400, ['Bad Request', '/vm.boot takes PUT']],
    ['PUT', '/vm.info', undefined, 400, ['Bad Request', '/vm.info takes GET']],
    ['POST', '/vm.boot', undefined, 400, undefined],
    ['DELETE', '/vm.info', undefined, 400, undefined],
    [
      ...(['PUT', '/vm.boot', undefined, 404] as const),
      ['Error from API', 'The VM could not boot', 'there is no machine: create one first'],
    ],
    [
      ...(['PUT', '/vm.pause', undefined, 500] as const),
      ['Error from API', 'The VM could not be paused', 'the machine is not running: boot it first'],
    ],
    ['PUT', '/vm.boot', '{}', 400, ['Error from API', 'The VM could not boot', 'vm.boot takes no body']],
    ['PUT', '/vm.create', undefined, 400, ['Error from API', 'The VM could not be created', 'vm.create needs a body']],
    [
      ...(['PUT', '/vm.create', '{"payload":{}}', 400] as const),
      ['Error from API', 'The VM could not be created', '--kernel: is missing: a machine needs something to boot'],
    ],
    [
      ...(['PUT', '/vm.create', '{"payload":{"kernel":"k"},"memory":{"size":18446744073709551615}}', 400] as const),
      ['Error from API', 'The VM could not be created', 'size: 18446744073709551615 is beyond 2^53'],
    ],
    [
      ...(['PUT', '/vm.create', '{"payload":{"kernel":"k"},"disks":[{"path":"é"},{"path":"é"}]}', 409] as const),
      [
        ...['Error from API', 'The VM could not be created'],
        '--disk: path: é is there twice, which only readonly=on on both allows',
      ],
    ],
    [
      ...(['PUT', '/vm.resize', '{"desired_vcpus":2}', 501] as const),
      ['Error from API', 'vm.resize is not possible', 'vm.resize is not supported yet'],
    ],
    [
      ...(['PUT', '/vm.snapshot', '{"destination_url":"file:///s"}', 500] as const),
      ['Error from API', 'The VM could not be snapshotted', 'the machine is not running: boot it first'],
    ],
    [
      ...(['PUT', '/vm.snapshot', '{"destination_url":"file:///s","ovrwrite":true}', 400] as const),
      ['Error from API', 'The VM could not be snapshotted', 'unknown key ovrwrite'],
    ],
    [
      ...(['PUT', '/vm.restore', '{"source_url":"ftp://host/s"}', 400] as const),
      [
        ...['Error from API', 'The VM could not be restored', 'source_url: ftp://host/s is no file of this host'],
        'The URL must be of scheme file',
      ],
    ],
    [
      ...(['PUT', '/vm.restore', '{"source_url":"file:///nowhere"}', 500] as const),
      [
        ...['Error from API', 'The VM could not be restored'],
        ...['snapshot /nowhere/manifest.json: no such file or directory', 'no such file or directory'],
      ],
    ],
    [
      ...(['PUT', '/vm.restore', '{"source_url":"/s","net_fds":[{"id":"n","num_fds":1}]}', 400] as const),
      [...['Error from API', 'The VM could not be restored'], 'net_fds: 1 descriptors were announced and 0 came'],
    ],
    [
      ...(['PUT', '/vm.remove-device', '{}', 400] as const),
      ['Error from API', 'The device could not be removed from the VM', 'id: is missing'],
    ],
  ]
  for (const [method, path, body, status, reasons] of cases) {
    const answer = await served.ask(method, path, body)
    t.is(answer.status, status, `${method} ${path}`)
    t.deepEqual(answer.json, reasons, `${method} ${path}`)
    t.regex(answer.text, /^[\x20-\x7e]*$/)
  }
  t.is(served.vmm.state, 'absent')
})

test('a cause stands behind what it caused', async t => {
  await using served = await ServedVmm.start()
  await served.put('/vm.create', config)
  served.machines.failing.add('load')
  const { status, json } = await served.put('/vm.boot')
  t.is(status, 500)
  t.deepEqual(json, ['Error from API', 'The VM could not boot', 'load fails'])
  t.like((await served.get('/vm.info')).json, { state: 'Created' })
  t.is((await served.put('/vm.create', config)).status, 500)
})

test('components are listed, and one of them shows its state', async t => {
  await using served = await ServedVmm.start()
  const inspect = (body: object) => served.put('/tsvmm.inspect', body)
  t.deepEqual((await inspect({})).json, [
    ...['Error from API', 'The machine could not be inspected', 'the machine is not running: boot it first'],
  ])
  await served.put('/vm.create', config)
  await served.put('/vm.boot')
  const register = { name: 'fake-register', state: 'saved', schema: 'fake-register', version: 1 }
  t.like((await inspect({})).json, { components: { 0: { name: 'fake', state: 'stateless' }, 1: register } })
  const content = { large: '0x8000000000000000', bytes: '01ff' }
  t.deepEqual((await inspect({ component: 'fake-register' })).json, { components: [{ ...register, content }] })
  t.like(await inspect({ component: 'nothing' }), { status: 404 })
  t.like((await served.get('/vm.info')).json, { state: 'Running' })
})

test('fields that nobody knows are left out and logged, fields without machinery refused', async t => {
  await using served = await ServedVmm.start()
  const unsupported = await served.put('/vm.create', { ...config, balloon: { size: 1 } })
  t.is(unsupported.status, 400)
  const created = await served.put('/vm.create', { ...config, novelty: 1, disks: [{ path: 'd', shade: 'blue' }] })
  t.is(created.status, 204)
  t.is(served.logged.filter(line => /WARN: vm.create: (novelty|disks.0.shade) is unknown/.test(line)).length, 2)
  const { json } = await served.get('/vm.info')
  t.notRegex(JSON.stringify(json), /novelty|shade/)
})

test('a strict server refuses fields that nobody knows, and leaves everything as it was', async t => {
  await using served = await ServedVmm.start({ isStrict: true })
  const refused = async (path: string, body: object, reason: string) => {
    t.like(await served.put(path, body), { status: 400, json: { 2: reason } })
  }
  await refused('/vm.create', { ...config, disks: [{ path: 'd', shade: 'blue' }] }, 'disks.0.shade is unknown')
  await refused('/vm.create', { ...config, novelty: 1 }, 'novelty is unknown')
  t.is(served.vmm.state, 'absent')
  t.is((await served.put('/vm.create', config)).status, 204)
  await refused('/vm.add-disk', { path: 'e', shade: 'blue' }, 'shade is unknown')
  await refused('/vm.add-net', { tap: 'tap0', shade: 'blue' }, 'shade is unknown')
  t.like((await served.get('/vm.info')).json, { config: { disks: { length: 1 }, net: { length: 0 } } })
})

test('what a client left open is not null in an answer', async t => {
  await using served = await ServedVmm.start()
  const open = { mac: null, mtu: null, rate_limiter_config: null }
  const disk = { path: 'd', id: null, serial: null, rate_limit_group: null, pci_device_id: null }
  const body = { ...config, disks: [disk], net: [open], balloon: null, rng: null, platform: null, serial: null }
  t.is((await served.put('/vm.create', body)).status, 204)
  t.notRegex((await served.get('/vm.info')).text, /null/)
  await served.put('/vm.boot')
  for (const path of ['/vm.info', '/vm.counters', '/tsvmm.migration-progress', '/tsvmm.snapshot-progress']) {
    t.notRegex((await served.get(path)).text, /null/, path)
  }
})

test('a request cannot reach for descriptors of this process', async t => {
  await using served = await ServedVmm.start()
  t.is((await served.put('/vm.create', { ...config, net: [{ fds: [5] }] })).status, 400)
  t.is((await served.put('/vm.create', { ...config, net: [{ fds: null }] })).status, 204)
  t.is((await served.put('/vm.add-net', { tap: 'tap0', fds: [5] })).status, 204)
  t.like((await served.get('/vm.info')).json, { config: { net: { length: 2, 1: { tap: 'tap0' } } } })
})

test('devices are added and removed, whether the machine runs or not', async t => {
  await using served = await ServedVmm.start()
  t.is((await served.put('/vm.add-disk', { path: 'e' })).status, 404)
  await served.put('/vm.create', config)
  t.is((await served.put('/vm.add-disk', { path: 'e', shade: 'blue' })).status, 204)
  t.is((await served.put('/vm.add-net', { tap: 'tap0' })).status, 204)
  t.like((await served.get('/vm.info')).json, {
    config: { disks: { length: 2, 1: { id: '_disk1', path: 'e' } }, net: { length: 1, 0: { id: '_net2' } } },
  })
  t.is((await served.put('/vm.add-disk', { path: 'd' })).status, 409)
  t.is((await served.put('/vm.add-disk', {})).status, 400)
  t.is((await served.put('/vm.add-net', { tap: 'tap1', vhost_user: true })).status, 400)
  t.is((await served.put('/vm.remove-device', { id: '_disk9' })).status, 404)
  t.is((await served.put('/vm.remove-device', { id: '_disk0' })).status, 204)
  t.like((await served.get('/vm.info')).json, { config: { disks: { length: 1, 0: { path: 'e' } } } })
  t.is((await served.put('/vm.boot')).status, 204)
  const added = await served.put('/vm.add-disk', { path: 'f', shade: 'blue' })
  t.like(added, { status: 200, json: { id: '_disk2', bdf: '0000:00:05.0' } })
  t.is(served.logged.filter(line => line.includes('vm.add-disk: shade is unknown')).length, 2)
  t.like(await served.put('/vm.add-net', { tap: 'tap1' }), { status: 200, json: { id: '_net3', bdf: '0000:00:06.0' } })
  t.is((await served.put('/vm.add-disk', { path: 'g', id: '_disk2' })).status, 409)
  t.is((await served.put('/vm.add-disk', {})).status, 400)
  t.is((await served.put('/vm.remove-device', { id: '_disk9' })).status, 404)
  t.like(await served.put('/vm.remove-device', { id: '_disk2' }), { status: 204, text: '' })
  served.machines.controller.onEject(5)
  t.like((await served.get('/vm.info')).json, {
    config: { disks: { length: 1 }, net: { length: 2 } },
    device_tree: { '_virtio-pci-_net3': { pci_bdf: '0000:00:06.0', children: ['_net3'] } },
  })
  t.is((await served.put('/vm.remove-device', { id: '_disk2' })).status, 404)
})

test('a disk becomes larger', async t => {
  await using served = await ServedVmm.start()
  const resize = (id: string, desired_size: unknown) => served.put('/vm.resize-disk', { id, desired_size })
  t.is((await resize('_disk0', 4096)).status, 404)
  await served.put('/vm.create', config)
  t.like(await resize('_disk0', 4096), { status: 500, json: { 2: 'the machine is not running: boot it first' } })
  await served.put('/vm.boot')
  t.is((await resize('_disk0', 4096)).status, 204)
  t.is(served.machines.steps.at(-1), 'resize _disk0 4096')
  t.like(await resize('_disk7', 4096), { status: 404, json: { 1: 'The disk could not be resized' } })
  t.is((await resize('_disk0', -1)).status, 400)
  t.is((await resize('_disk0', '4096')).status, 400)
})

test('answers have the form that the description promises', async t => {
  await using served = await ServedVmm.start()
  await served.put('/vm.create', config)
  await served.put('/vm.boot')
  for (const { method, path, response } of routes) {
    if (response === undefined || typeof response === 'string') continue
    const body = JSON.stringify(path === '/vm.add-disk' ? { path: 'e' } : path === '/vm.add-net' ? { tap: 'tap0' } : {})
    const { json } = await served.ask(method, path, method === 'PUT' ? body : undefined)
    t.deepEqual(z.safeParse(response, json).error?.issues ?? [], [], path)
  }
})

test('no endpoint answers anything but its status, a refusal, or not yet', async t => {
  await using served = await ServedVmm.start()
  for (const { method, path, unsupported } of routes) {
    if (path === '/vmm.shutdown') continue
    const { status } = await served.ask(method, path, unsupported === undefined ? undefined : '{}')
    t.true([200, 204, 400, 404, 500, 501].includes(status), `${path}: ${status}`)
  }
})

// What clients' own HTTP code counts on, byte for byte.

test('the status line has no reason phrase, and headers their usual case', async t => {
  await using served = await ServedVmm.start()
  using client = new RawClient(served.socketPath)
  client.send('PUT /api/v1/vm.delete HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Length: 0\r\n\r\n')
  const empty = await client.expect(/\r\n\r\n/)
  t.is(empty, 'HTTP/1.1 204 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n\r\n')
  client.send('GET http://localhost/api/v1/vmm.ping HTTP/1.1\r\nHost: localhost\r\n\r\n')
  t.regex(
    await client.expect(/\}/),
    /^HTTP\/1\.1 200 \r\nServer: .*\r\nConnection: keep-alive\r\nContent-Type: application\/json\r\nContent-Length: \d+\r\n\r\n\{.*\}$/,
  )
})

test('nothing follows the headers of an answer to HEAD', async t => {
  await using served = await ServedVmm.start()
  for (const path of ['vm.info', 'nowhere']) {
    using client = new RawClient(served.socketPath)
    client.send(`HEAD /api/v1/${path} HTTP/1.1\r\nConnection: close\r\n\r\n`)
    t.regex(await client.rest(), /^HTTP\/1\.1 40[04] \r\n([^\r]+\r\n)+\r\n$/)
  }
})

test('a request may come in any number of pieces', async t => {
  // However slow the machine is.
  await using served = await ServedVmm.start({ headersTimeoutMs: 60_000, requestTimeoutMs: 60_000 })
  const body = JSON.stringify(config)
  const request = `PUT /api/v1/vm.create HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  using client = new RawClient(served.socketPath)
  for (const character of request) {
    client.send(character)
    await turn()
  }
  t.regex(await client.expect(/\r\n\r\n/), /^HTTP\/1\.1 204 /)
  t.is(served.vmm.state, 'created')
})

test('a client that waits for leave to send its body gets it', async t => {
  await using served = await ServedVmm.start()
  const body = JSON.stringify(config)
  using client = new RawClient(served.socketPath)
  client.send(`PUT /api/v1/vm.create HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`)
  t.regex(await client.expect(/\r\n\r\n/), /^HTTP\/1\.1 100 /)
  client.send(body)
  t.regex(await client.expect(/\r\n\r\n/), /^HTTP\/1\.1 204 /)
})

test('an answer comes in one packet', async t => {
  await using served = await ServedVmm.start()
  using client = new RawClient(served.socketPath)
  let packets = 0
  client.socket.on('data', () => {
    packets += 1
  })
  client.send('GET /api/v1/vm.nowhere HTTP/1.1\r\n\r\n')
  await client.expect(/\]/)
  t.is(packets, 1)
})

// Hostile clients.

test('a body beyond the limit is refused before it is read', async t => {
  await using served = await ServedVmm.start()
  using announced = new RawClient(served.socketPath)
  announced.send(`PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: ${maximumBodyBytes + 1}\r\n\r\n`)
  t.regex(await announced.rest(), /^HTTP\/1\.1 413 .*Payload Too Large/s)
  using expecting = new RawClient(served.socketPath)
  expecting.send('PUT /api/v1/vm.create HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n')
  t.regex(await expecting.rest(), /^HTTP\/1\.1 413 /)
  using chunked = new RawClient(served.socketPath)
  chunked.send('PUT /api/v1/vm.create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n')
  const chunk = 'a'.repeat(0x10_0000)
  for (let sent = 0; sent < 5; sent += 1) chunked.send(`100000\r\n${chunk}\r\n`)
  t.regex(await chunked.rest(), /^HTTP\/1\.1 413 /)
  t.is((await served.get('/vmm.ping')).status, 200)
})

test('what is not JSON, or not even text, is refused', async t => {
  await using served = await ServedVmm.start()
  for (const body of ['', '{', '[]', '3', 'null', '"', '['.repeat(1_000_000), Buffer.from([0x22, 0xff, 0x22])]) {
    t.is((await served.ask('PUT', '/vm.create', body)).status, 400)
    t.is((await served.ask('PUT', '/vm.resize', body)).status, 400)
  }
  const polluting = await served.ask('PUT', '/vm.create', '{"payload":{"kernel":"k"},"__proto__":{"x":1}}')
  t.is(polluting.status, 204)
})

test('what is not HTTP is answered once and hung up on', async t => {
  await using served = await ServedVmm.start()
  for (const junk of ['\0\0\0\0', 'GET\r\n\r\n', 'PUT /api/v1/vm.boot HTTP/1.1\r\nContent-Length: -1\r\n\r\n']) {
    using client = new RawClient(served.socketPath)
    client.send(junk)
    t.regex(await client.rest(), /^HTTP\/1\.1 400 \r\n.*\["Bad Request"/s)
  }
  using large = new RawClient(served.socketPath)
  large.send(`GET /api/v1/vmm.ping HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`)
  t.regex(await large.rest(), /^HTTP\/1\.1 431 /)
})

test('headers and bodies that take too long end the connection', async t => {
  await using served = await ServedVmm.start({ headersTimeoutMs: 200, requestTimeoutMs: 400 })
  using silent = new RawClient(served.socketPath)
  using slow = new RawClient(served.socketPath)
  slow.send('GET /api/v1/vmm.ping HTTP/1.1\r\nX: ')
  using halfway = new RawClient(served.socketPath)
  halfway.send('PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 10\r\n\r\n{')
  t.regex(await slow.rest(), /^HTTP\/1\.1 408 /)
  await halfway.rest()
  await silent.rest()
  t.is(served.vmm.state, 'absent')
})

test('a change may take longer than its request may take to arrive', async t => {
  await using served = await ServedVmm.start({ headersTimeoutMs: 2_000, requestTimeoutMs: 3_000 })
  await served.put('/vm.create', config)
  const gate = Promise.withResolvers<void>()
  served.machines.delay = gate.promise
  const booted = served.put('/vm.boot')
  setTimeout(() => gate.resolve(), 5_000)
  t.is((await booted).status, 204)
})

test('garbage after a request that is being carried out is not answered in its place', async t => {
  await using served = await ServedVmm.start()
  await served.put('/vm.create', config)
  const gate = Promise.withResolvers<void>()
  served.machines.delay = gate.promise
  using client = new RawClient(served.socketPath)
  client.send('PUT /api/v1/vm.boot HTTP/1.1\r\n\r\n')
  await until(() => served.machines.configs.length > 0)
  client.send('\0\0\0\0')
  t.is(await client.rest(), '')
  gate.resolve()
  await until(() => served.vmm.state === 'running')
})

test('a connection that is kept is not ended for being idle', async t => {
  // A busy machine takes its time between a connection and its first request.
  await using served = await ServedVmm.start({ headersTimeoutMs: 2_000, requestTimeoutMs: 3_000 })
  using client = new RawClient(served.socketPath)
  client.send('GET /api/v1/vmm.ping HTTP/1.1\r\n\r\n')
  await client.expect(/\}/)
  await new Promise(resolve => setTimeout(resolve, 5_000))
  client.send('GET /api/v1/vmm.ping HTTP/1.1\r\n\r\n')
  t.regex(await client.expect(/\}/), /^HTTP\/1\.1 200 /)
})

test('the eleventh connection is turned away, and a place that was freed is taken', async t => {
  await using served = await ServedVmm.start()
  const clients = Array.from({ length: 10 }, () => new RawClient(served.socketPath))
  for (const client of clients) {
    client.send('GET /api/v1/vmm.ping HTTP/1.1\r\n\r\n')
    t.regex(await client.expect(/\}/), /^HTTP\/1\.1 200 /)
  }
  using eleventh = new RawClient(served.socketPath)
  eleventh.send('PUT /api/v1/vmm.shutdown HTTP/1.1\r\n\r\n')
  t.regex(await eleventh.rest(), /^HTTP\/1\.1 503 \r\n.*10 connections are open"\]$/s)
  clients[0]?.socket.destroy()
  await clients[0]?.rest()
  // The server learns of it in its own time.
  while ((await served.get('/vmm.ping')).status !== 200) await turn()
  t.pass()
  for (const client of clients) client.socket.destroy()
})

test('a client that asks without reading is cut off', async t => {
  await using served = await ServedVmm.start()
  await served.put('/vm.create', config)
  const gate = Promise.withResolvers<void>()
  served.machines.delay = gate.promise
  using client = new RawClient(served.socketPath)
  client.send('PUT /api/v1/vm.boot HTTP/1.1\r\n\r\n'.repeat(40))
  await client.rest()
  gate.resolve()
  t.is((await served.get('/vmm.ping')).status, 200)
})

test('changes of two clients are carried out one after the other, reads meanwhile', async t => {
  await using served = await ServedVmm.start()
  await served.put('/vm.create', config)
  const gate = Promise.withResolvers<void>()
  served.machines.delay = gate.promise
  const first = served.put('/vm.boot')
  const second = served.put('/vm.boot')
  await until(() => served.machines.configs.length > 0)
  t.like((await served.get('/vm.info')).json, { state: 'Created' })
  gate.resolve()
  const statuses = [(await first).status, (await second).status]
  t.deepEqual(statuses.toSorted(), [204, 500])
  t.is(served.machines.configs.length, 1)
})

test('a client that goes away does not undo what it asked for', async t => {
  await using served = await ServedVmm.start()
  await served.put('/vm.create', config)
  const gate = Promise.withResolvers<void>()
  served.machines.delay = gate.promise
  using client = new RawClient(served.socketPath)
  client.send('PUT /api/v1/vm.boot HTTP/1.1\r\n\r\n')
  await until(() => served.machines.configs.length > 0)
  client.socket.destroy()
  gate.resolve()
  await until(() => served.vmm.state === 'running')
  using half = new RawClient(served.socketPath)
  half.send('PUT /api/v1/vm.pause HTTP/1.1\r\nContent-Length: 5\r\n\r\n12')
  half.socket.destroy()
  t.is((await served.get('/vmm.ping')).status, 200)
  t.is(served.vmm.state, 'running')
})

test('closing answers what was asked and lets idle clients go', async t => {
  await using served = await ServedVmm.start()
  using idle = new RawClient(served.socketPath)
  idle.send('GET /api/v1/vmm.ping HTTP/1.1\r\n\r\n')
  await idle.expect(/\}/)
  using last = new RawClient(served.socketPath)
  last.send('PUT /api/v1/vmm.shutdown HTTP/1.1\r\n\r\n')
  await served.vmm.wait()
  await served.server?.close()
  t.regex(await last.rest(), /^HTTP\/1\.1 200 \r\n/)
  await idle.rest()
  t.false(existsSync(served.socketPath))
  t.false(existsSync(`${served.socketPath}.lock`))
})

test('the description names every endpoint', async t => {
  await using served = await ServedVmm.start()
  const { status, json } = await served.get('/tsvmm.openapi')
  t.is(status, 200)
  t.like(json, { openapi: '3.1.0', servers: [{ url: `http://localhost${apiRoot}` }] })
  const text = JSON.stringify(json)
  for (const { path } of routes) t.true(text.includes(`"${path}"`), path)
  t.regex(text, /"boot_vcpus"/)
})
