import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { addon } from '../native/addon.ts'
import { CertificateAuthority, tlsDirectory } from './testing/certificates.ts'
import { readTlsCredentials, TlsTunnel } from './tls-tunnel.native.ts'

/** Of both sides of a migration. */
async function tunnels(t: ExecutionContext, patienceMs: number): Promise<{ caller: TlsTunnel; called: TlsTunnel }> {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-tunnel-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const directory = tlsDirectory(join(place, 'tls'), new CertificateAuthority(join(place, 'authority')))
  const credentials = [
    await readTlsCredentials(directory, 'client'),
    await readTlsCredentials(directory, 'server'),
  ] as const
  return {
    caller: new TlsTunnel(credentials[0], { host: '127.0.0.1', patienceMs }),
    called: new TlsTunnel(credentials[1], { patienceMs }),
  }
}

test('a connection lasts longer than its handshake may take', async t => {
  const patienceMs = 3_000
  const { caller, called } = await tunnels(t, patienceMs)
  const [near, far] = addon().socketPair()
  const fds = await Promise.all([caller.secure(near), called.secure(far)])
  const [one, other] = fds.map(fd => new Socket({ fd }).resume())
  if (one === undefined || other === undefined) return t.fail()
  const ended = Promise.race([one, other].map(socket => once(socket, 'close')))
  t.is(await Promise.race([ended.then(() => 'ended'), delay(patienceMs + 500, 'open')]), 'open')
  const heard = [once(one, 'data'), once(other, 'data')]
  one.write('still here')
  other.write('here, too')
  t.deepEqual((await Promise.all(heard)).join(), 'here, too,still here')
  one.destroy()
  other.destroy()
})

test('a peer that says nothing is given up', async t => {
  const { caller, called } = await tunnels(t, 100)
  for (const tunnel of [caller, called]) {
    const [own, silent] = addon().socketPair()
    await t.throwsAsync(tunnel.secure(own), { message: /^TLS: / })
    addon().closeDescriptor(silent)
  }
})
