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
  '/vm.remove-device': { id: '_disk0' },
  '/tsvmm.inspect': {},
}

const bodyOf = (path: string) => (bodies[path] === undefined ? undefined : JSON.stringify(bodies[path]))

test('curl gets an answer from every endpoint, with the verb of it and with others, with a body and without', async t => {
  await using served = await ServedVmm.start()
  t.is(await curl(served, 'PUT', '/vm.create', bodyOf('/vm.create')), 204)
  t.is(await curl(served, 'PUT', '/vm.boot'), 204)
  for (const { method, path, request } of routes) {
    if (['/vmm.shutdown', '/vm.shutdown', '/vm.delete', '/vm.create', '/vm.boot'].includes(path)) continue
    for (const other of ['GET', 'PUT', 'POST', 'DELETE', 'PATCH'].filter(verb => verb !== method)) {
      t.is(await curl(served, other, path), 400, `${other} ${path}`)
    }
    if (method === 'PUT') {
      const wrong = request === undefined ? '{}' : '{'
      t.is(await curl(served, method, path, wrong), 400, `${path} with ${wrong}`)
    }
    if (request !== undefined && bodies[path] === undefined) continue
    const status = await curl(served, method, path, bodyOf(path))
    t.true(status === 200 || status === 204, `${path}: ${status}`)
  }
  t.is(await curl(served, 'GET', '/vm.nowhere'), 404)
  t.is(await curl(served, 'PUT', '/vm.shutdown'), 204)
  t.is(await curl(served, 'PUT', '/vm.delete'), 204)
  t.is(await curl(served, 'PUT', '/vm.boot'), 404)
  t.is(await curl(served, 'PUT', '/vmm.shutdown'), 200)
})

test('curl waits for leave to send what is long', async t => {
  await using served = await ServedVmm.start()
  const config = { payload: { kernel: 'k', cmdline: 'x'.repeat(2_000_000) } }
  t.is(await curl(served, 'PUT', '/vm.create', JSON.stringify(config)), 204)
})
