import { execFileSync } from 'node:child_process'
import { existsSync, openSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import test from 'ava'
import { parseSocketAddress } from './socket-address.ts'
import { SocketLock } from './socket-lock.native.ts'
import { ServedVmm } from './testing/served-vmm.ts'

/** A server that dies without cleaning up, like one that was killed. */
function leaveSocket(path: string): void {
  const script = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
  try {
    execFileSync(process.execPath, ['-e', script, path], { stdio: 'ignore' })
  } catch {
    // Killed, as it should be.
  }
}

test('addresses are a path, or a descriptor', t => {
  t.deepEqual(parseSocketAddress('/run/a=b.sock'), { path: '/run/a=b.sock' })
  t.deepEqual(parseSocketAddress('path=/run/a.sock'), { path: '/run/a.sock' })
  t.deepEqual(parseSocketAddress('fd=7'), { fd: 7 })
  const refuses = (text: string, message: string) =>
    t.throws(() => parseSocketAddress(text), { code: 'ERR_OPTION_INVALID', message })
  refuses('', '--api-socket: has no path')
  refuses('path=', '--api-socket: has no path')
  refuses('fd=x', '--api-socket: fd: x is not a descriptor')
  refuses('fd=1', '--api-socket: fd: 0 to 2 are the standard streams')
  refuses('a\0b', '--api-socket: the path has a zero byte')
  t.notThrows(() => parseSocketAddress('x'.repeat(107)))
  t.throws(() => parseSocketAddress('é'.repeat(54)), { message: /longer than 107 bytes$/ })
})

test('the socket is its owner’s alone, and gone with the lock when the server is', async t => {
  await using served = await ServedVmm.start()
  t.is(statSync(served.socketPath).mode & 0o777, 0o600)
  t.is(statSync(`${served.socketPath}.lock`).mode & 0o777, 0o600)
  await served.server?.close()
  await served.server?.close()
  t.false(existsSync(served.socketPath))
  t.false(existsSync(`${served.socketPath}.lock`))
})

test("a dead server's socket and lock file are replaced", async t => {
  await using served = new ServedVmm()
  leaveSocket(served.socketPath)
  t.true(existsSync(served.socketPath))
  writeFileSync(`${served.socketPath}.lock`, '')
  served.server = await served.listen()
  t.is((await served.get('/vmm.ping')).status, 200)
})

test('a live server keeps its socket, with a lock or without', async t => {
  await using served = await ServedVmm.start()
  const expected = { code: 'ERR_API_SOCKET', message: /api\.sock: another server is listening on it$/ }
  await t.throwsAsync(served.listen(), expected)
  t.is((await served.get('/vmm.ping')).status, 200)
  t.true(existsSync(`${served.socketPath}.lock`))

  const path = join(served.folder, 'foreign.sock')
  const foreign = createServer().listen(path)
  await t.throwsAsync(served.listen({ address: { path } }), { code: 'ERR_API_SOCKET' })
  t.true(existsSync(path))
  t.false(existsSync(`${path}.lock`), 'a refusal leaves nothing behind')
  foreign.close()
})

test('of many servers that start at once one listens', async t => {
  await using served = new ServedVmm()
  leaveSocket(served.socketPath)
  const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => served.listen()))
  const servers = outcomes.flatMap(outcome => (outcome.status === 'fulfilled' ? [outcome.value] : []))
  t.is(servers.length, 1)
  served.server = servers[0]
  t.is((await served.get('/vmm.ping')).status, 200)
})

test('what is no socket is not touched', async t => {
  await using served = new ServedVmm()
  writeFileSync(served.socketPath, 'precious')
  await t.throwsAsync(served.listen(), { message: /api\.sock: there is a file that is not a socket$/ })
  t.is(statSync(served.socketPath).size, 8)
  const link = join(served.folder, 'linked.sock')
  symlinkSync(served.socketPath, `${link}.lock`)
  await t.throwsAsync(served.listen({ address: { path: link } }), { message: /its lock file .*linked\.sock\.lock: / })
  const nowhere = join(served.folder, 'nowhere', 'api.sock')
  await t.throwsAsync(served.listen({ address: { path: nowhere } }), { message: /no such file or directory$/ })
})

test('who has let go of a lock removes nothing any more', async t => {
  await using served = new ServedVmm()
  const path = join(served.folder, 'a.sock')
  using first = SocketLock.take(path)
  t.throws(() => SocketLock.take(path), { code: 'ERR_API_SOCKET' })
  first.release()
  t.false(existsSync(`${path}.lock`))
  using second = SocketLock.take(path)
  first.release()
  t.true(existsSync(`${path}.lock`))
  second.release()
})

test('a descriptor that is no socket is refused', async t => {
  await using served = new ServedVmm()
  const fd = openSync(join(served.folder, 'file'), 'w')
  await t.throwsAsync(served.listen({ address: { fd } }), { message: `--api-socket fd=${fd}: is not a socket` })
  await t.throwsAsync(served.listen({ address: { fd: 999 } }), { code: 'ERR_API_SOCKET' })
})
