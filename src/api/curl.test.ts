import test from 'ava'
import { execa } from 'execa'
import { routes } from './routes.ts'
import { contract, ServedVmm } from './testing/served-vmm.ts'

/** Asks as people do; the answer is held against the description. */
async function curl({ socketPath }: ServedVmm, method: string, path: string, body?: string) {
  const { stdout } = await execa(
    'curl',
    [
      ...['--silent', '--show-error', '--unix-socket', socketPath, '--max-time', '60'],
      ...['--write-out', '\n%{http_code}', '--request', method],
      ...(body === undefined ? [] : ['--data', '@-']),
      `http://localhost/api/v1${path}`,
    ],
    body === undefined ? { stdin: 'ignore' } : { input: body },
  )
  const [, answer = '', status = ''] = /^(.*)\n(\d+)$/s.exec(stdout) ?? []
  contract.check({ method, path, request: body, status: Number(status), answer })
  return Number(status)
}

const bodies: Readonly<Record<string, object>> = {
  '/vm.create': { payload: { kernel: 'k' }, disks: [{ path: 'd' }] },
  '/vm.add-disk': { path: 'e' },
  '/vm.add-net': { tap: 'tap0' },
  '/vm.resize-disk': { id: '_disk0', desired_size: 4096 },
  '/vm.snapshot': { destination_url: 'file:///nowhere/snapshot' },
  '/vm.coredump': { destination_url: 'file:///nowhere/core' },
  '/vm.restore': { source_url: 'file:///nowhere/snapshot' },
  '/vm.send-migration': { destination_url: 'unix:/nowhere/socket' },
  '/vm.receive-migration': { receiver_url: 'unix:/nowhere/socket' },
  '/tsvmm.resolve-migration': { id: 'none', decision: 'Keep' },
  '/vm.remove-device': { id: '_disk0' },
  '/tsvmm.inspect': {},
}

const bodyOf = (path: string) => (bodies[path] === undefined ? undefined : JSON.stringify(bodies[path]))

test('curl is refused by every endpoint with a verb that is not its own, and with a body that cannot be', async t => {
  await using served = await ServedVmm.start()
  await bring(served, 'running')
  for (const { method, path, request } of routes) {
    for (const other of ['GET', 'PUT', 'POST', 'DELETE', 'PATCH'].filter(verb => verb !== method)) {
      t.is(await curl(served, other, path), 400, `${other} ${path}`)
    }
    if (method === 'GET') continue
    for (const wrong of request === undefined ? ['{}'] : [undefined, '{', '7']) {
      t.is(await curl(served, method, path, wrong), 400, `${path} with ${wrong}`)
    }
  }
  t.is(await curl(served, 'GET', '/vm.nowhere'), 404)
  t.is(await curl(served, 'DELETE', '/vm.nowhere'), 404)
  t.like((await served.get('/vm.info')).json, { state: 'Running' })
})

/** What each endpoint answers to a right request, by what there is: nothing, a configuration, a machine that runs, a paused one. */
const states = ['absent', 'created', 'running', 'paused'] as const
const answers: Readonly<Record<string, readonly [absent: number, created: number, running: number, paused: number]>> = {
  '/vmm.ping': [200, 200, 200, 200],
  '/vmm.shutdown': [200, 200, 200, 200],
  '/vm.create': [204, 500, 500, 500],
  '/vm.delete': [204, 204, 204, 204],
  '/vm.boot': [404, 204, 500, 204],
  '/vm.pause': [500, 500, 204, 500],
  '/vm.resume': [500, 500, 500, 204],
  '/vm.shutdown': [500, 500, 204, 204],
  '/vm.reboot': [404, 404, 204, 204],
  '/vm.power-button': [500, 500, 204, 500],
  '/vm.nmi': [500, 500, 204, 500],
  '/vmm.nmi': [500, 500, 204, 500],
  '/vm.info': [404, 200, 200, 200],
  '/vm.counters': [500, 500, 200, 200],
  '/tsvmm.inspect': [500, 500, 200, 200],
  '/tsvmm.snapshot-progress': [200, 200, 200, 200],
  '/tsvmm.openapi': [200, 200, 200, 200],
  '/vm.add-disk': [404, 204, 200, 200],
  '/vm.add-net': [404, 204, 200, 200],
  '/vm.remove-device': [404, 204, 204, 204],
  '/vm.resize-disk': [404, 500, 204, 204],
  '/vm.snapshot': [500, 500, 500, 500],
  '/vm.coredump': [500, 500, 500, 500],
  '/vm.restore': [500, 500, 500, 500],
  '/vm.send-migration': [500, 500, 500, 500],
  '/vm.receive-migration': [500, 500, 500, 500],
  '/tsvmm.migration-progress': [200, 200, 200, 200],
  '/tsvmm.cancel-migration': [204, 204, 204, 204],
  '/tsvmm.resolve-migration': [500, 500, 500, 500],
}

async function bring(served: ServedVmm, state: (typeof states)[number]): Promise<void> {
  if (state === 'absent') return
  await served.put('/vm.create', bodies['/vm.create'])
  if (state === 'created') return
  await served.put('/vm.boot')
  if (state === 'paused') await served.put('/vm.pause')
}

for (const [column, state] of states.entries()) {
  test(`curl gets what is right from every endpoint where the machine is ${state}`, async t => {
    for (const { method, path, unsupported } of routes) {
      if (unsupported !== undefined) continue
      await using served = await ServedVmm.start()
      await bring(served, state)
      const status = await curl(served, method, path, bodyOf(path))
      t.true(status === answers[path]?.[column], `${path}: ${status}`)
    }
  })
}

test('curl gets the status of its kind for every request that is right and cannot be carried out', async t => {
  await using served = await ServedVmm.start()
  await bring(served, 'running')
  const requests: readonly [path: string, body: object, status: number][] = [
    ['/vm.add-disk', { path: 'd' }, 409],
    ['/vm.add-disk', { path: 'e', id: '_disk0' }, 409],
    ['/vm.add-disk', { path: 'e', num_queues: 0 }, 400],
    ['/vm.add-disk', { path: 'e', iommu: true }, 400],
    ['/vm.add-net', { tap: 'tap0', id: '_disk0' }, 409],
    ['/vm.add-net', { mac: 'nonsense' }, 400],
    ['/vm.remove-device', { id: '_disk7' }, 404],
    ['/vm.remove-device', { id: '_rng' }, 404],
    ['/vm.resize-disk', { id: '_disk7', desired_size: 4096 }, 404],
    ['/vm.snapshot', { destination_url: 'http://host/s' }, 400],
    ['/tsvmm.inspect', { component: 'nothing' }, 404],
    ['/vm.resize', { desired_vcpus: 2 }, 501],
    ['/vm.resize-zone', { id: 'mem0', desired_ram: 0 }, 501],
    ['/vm.coredump', { destination_url: 'http://host/core' }, 400],
    ['/vm.add-device', {}, 501],
    ['/vm.add-user-device', {}, 501],
    ['/vm.add-fs', {}, 501],
    ['/vm.add-generic-vhost-user', {}, 501],
    ['/vm.add-pmem', {}, 501],
    ['/vm.add-vdpa', {}, 501],
    ['/vm.add-vsock', {}, 501],
  ]
  for (const [path, body, status] of requests) {
    t.is(await curl(served, 'PUT', path, JSON.stringify(body)), status, `${path} ${JSON.stringify(body)}`)
  }
  const later = routes.filter(({ unsupported }) => unsupported !== undefined).map(({ path }) => path)
  t.deepEqual(later.toSorted(), requests.flatMap(([path, , status]) => (status === 501 ? [path] : [])).toSorted())
  t.like((await served.get('/vm.info')).json, {
    state: 'Running',
    config: { disks: { length: 1 }, net: { length: 0 } },
  })
})

test('curl waits for leave to send what is long', async t => {
  await using served = await ServedVmm.start()
  const config = { payload: { kernel: 'k', cmdline: 'x'.repeat(2_000_000) } }
  t.is(await curl(served, 'PUT', '/vm.create', JSON.stringify(config)), 204)
})
