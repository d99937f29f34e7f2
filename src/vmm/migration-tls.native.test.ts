import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectSecurely } from 'node:tls'
import test, { type ExecutionContext } from 'ava'
import { parseVmConfig } from '../config/vm-config.ts'
import { CertificateAuthority, tlsDirectory } from '../migration/testing/certificates.ts'
import type { MigrationOptions } from './departure.ts'
import { FakeMachines, fakeSpeaker } from './testing/fake-machine.ts'
import { Vmm } from './vmm.ts'

const config = parseVmConfig({ payload: { kernel: 'vmlinux' } })

interface Certificates {
  /** Directories as of tls_dir. */
  readonly source?: string
  readonly destination?: string
}

function aVmm(t: ExecutionContext) {
  const { createVm, receiveVm } = new FakeMachines()
  const vmm = new Vmm({ createVm, receiveVm, outlivesVm: true })
  const events: { readonly event: string; readonly properties?: unknown }[] = []
  vmm.on('event', event => events.push(event))
  t.teardown(() => vmm.close())
  return { vmm, events }
}

/** A machine that runs, and another side that waits for it at a port. */
async function twoSides(t: ExecutionContext, { source, destination }: Certificates) {
  const [here, there] = [aVmm(t), aVmm(t)]
  await here.vmm.create(config)
  await here.vmm.boot()
  const listening = Promise.withResolvers<string>()
  const received = there.vmm.receiveMigration('tcp:127.0.0.1:0', {
    ...{ speaker: fakeSpeaker(), onListening: url => listening.resolve(url) },
    ...(destination === undefined ? {} : { tlsDir: destination }),
  })
  received.catch(listening.reject)
  const url = await listening.promise
  const send = (options: MigrationOptions = {}) =>
    here.vmm.sendMigration(url, {
      ...{ connections: 2, speaker: fakeSpeaker(), ...options },
      ...(source === undefined ? {} : { tlsDir: source }),
    })
  return { here, there, url, received, send }
}

function aPlace(t: ExecutionContext): string {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-tls-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  return place
}

async function refusalOf(
  events: readonly { readonly event: string; readonly properties?: unknown }[],
): Promise<string> {
  for (;;) {
    const refused = events.find(({ event }) => event === 'migration-receive-refused')
    if (refused !== undefined) return JSON.stringify(refused.properties)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

for (const postcopy of ['never', 'at-once'] as const) {
  test(`a machine moves under TLS (postcopy ${postcopy})`, async t => {
    const place = aPlace(t)
    const tls = tlsDirectory(join(place, 'tls'), new CertificateAuthority(join(place, 'authority')))
    const { here, there, received, send } = await twoSides(t, { source: tls, destination: tls })
    await send({ postcopy })
    await received
    t.is(here.vmm.state, 'absent')
    t.is(there.vmm.state, 'running')
  })
}

test('a side that the other one does not accept is refused in one line, and nothing has happened', async t => {
  const place = aPlace(t)
  const [authority, stranger] = [
    new CertificateAuthority(join(place, 'authority')),
    new CertificateAuthority(join(place, 'stranger')),
  ]
  const good = tlsDirectory(join(place, 'good'), authority)
  const theirs = tlsDirectory(join(place, 'theirs'), stranger)
  const expired = tlsDirectory(join(place, 'expired'), authority, { hasExpired: true })
  const elsewhere = tlsDirectory(join(place, 'elsewhere'), authority, { names: 'DNS:elsewhere.example' })
  // Signed by somebody else, but it trusts the destination.
  const unknown = tlsDirectory(join(place, 'unknown'), stranger)
  copyFileSync(authority.certificate, join(unknown, 'ca-cert.pem'))
  const ended = 'TLS: the other side has ended the connection: it may not accept the certificate of this one'
  for (const [source, destination, why, told] of [
    [
      theirs,
      good,
      /self-signed certificate in certificate chain|unable to get local issuer|unable to verify/,
      undefined,
    ],
    [good, expired, /TLS: certificate has expired/, undefined],
    [good, elsewhere, /TLS: .*127\.0\.0\.1 is not in the cert's list/, undefined],
    [unknown, good, ended, /TLS: the certificate of the other side is refused: [A-Z_]+"/],
    [expired, good, ended, /TLS: the certificate of the other side is refused: CERT_HAS_EXPIRED"/],
    [undefined, good, /the connection is lost/, /TLS: /],
    [good, undefined, /TLS: /, undefined],
  ] as const) {
    const { here, there, received, send } = await twoSides(t, {
      ...(source === undefined ? {} : { source }),
      ...(destination === undefined ? {} : { destination }),
    })
    const error = await t.throwsAsync(send({ peerTimeoutMs: 2_000 }), { code: 'ERR_MIGRATION' })
    const what = `${source} ${destination}: ${error.message}`
    t.true(typeof why === 'string' ? error.message.endsWith(why) : why.test(error.message), what)
    t.false(error.message.includes('\n'), what)
    t.is(here.vmm.state, 'running')
    t.is(there.vmm.state, 'receiving', what)
    if (told !== undefined) {
      t.regex(await refusalOf(there.events), told, what)
    }
    there.vmm.cancelMigration()
    await t.throwsAsync(received)
  }
})

test('who has no certificate, or says nothing, holds nobody up', async t => {
  const place = aPlace(t)
  const tls = tlsDirectory(join(place, 'tls'), new CertificateAuthority(join(place, 'authority')))
  const { there, url, received, send } = await twoSides(t, { source: tls, destination: tls })
  const port = Number(url.split(':').at(-1))
  const silent = Array.from({ length: 20 }, () => connect(port, '127.0.0.1'))
  const nameless = connectSecurely({ port, host: '127.0.0.1', rejectUnauthorized: false })
  const strangers: Socket[] = [...silent, nameless]
  t.teardown(() => strangers.forEach(socket => void socket.destroy()))
  for (const socket of strangers) socket.on('error', () => {})
  await new Promise(resolve => nameless.once('close', resolve))
  await send()
  await received
  t.is(there.vmm.state, 'running')
})

test('what is wrong with the files is said before anything else', async t => {
  const place = aPlace(t)
  const authority = new CertificateAuthority(join(place, 'authority'))
  const good = tlsDirectory(join(place, 'good'), authority)
  const empty = join(place, 'empty')
  mkdirSync(empty)
  const mixed = tlsDirectory(join(place, 'mixed'), authority)
  for (const side of ['client', 'server']) copyFileSync(join(good, `${side}-key.pem`), join(mixed, `${side}-key.pem`))
  const noise = tlsDirectory(join(place, 'noise'), authority)
  for (const side of ['client', 'server']) writeFileSync(join(noise, `${side}-cert.pem`), 'noise')
  for (const [tlsDir, why] of [
    [empty, /^migration: tls_dir: .*empty\/ca-cert\.pem cannot be read: /],
    [mixed, /^migration: tls_dir: .*mixed: ca-cert\.pem, (client|server)-cert\.pem or (client|server)-key\.pem: .*$/],
    [noise, /^migration: tls_dir: .*noise: ca-cert\.pem, (client|server)-cert\.pem or (client|server)-key\.pem: .*$/],
  ] as const) {
    await t.throwsAsync(twoSides(t, { destination: tlsDir }), { code: 'ERR_MIGRATION', message: why })
    const { here, send } = await twoSides(t, { source: tlsDir, destination: good })
    await t.throwsAsync(send(), { code: 'ERR_MIGRATION', message: why })
    t.is(here.vmm.state, 'running')
  }
  const { vmm } = aVmm(t)
  await t.throwsAsync(vmm.receiveMigration(`unix:${place}/socket`, { tlsDir: good }), {
    message: 'migration: tls_dir: only connections over tcp can be under TLS',
  })
})
