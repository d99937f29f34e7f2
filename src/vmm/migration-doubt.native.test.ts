import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { CertificateAuthority, tlsDirectory } from '../migration/testing/certificates.ts'
import { Relay, type RelayedPair } from '../migration/testing/relay.ts'
import type { MigrationOptions } from './departure.ts'
import { fakeSpeaker } from './testing/fake-machine.ts'
import { aSide, config, running, until } from './testing/two-sides.ts'

/** What is between both sides; it breaks, and whoever connects then waits. */
class Network implements AsyncDisposable {
  readonly #waiting: RelayedPair[] = []
  #relay: Relay | undefined
  #isHeldUp = false

  static async open(destination: number): Promise<Network> {
    const network = new Network()
    const host = '127.0.0.1'
    network.#relay = await Relay.open({ host, port: 0 }, { host, port: destination }, pair => {
      if (network.#isHeldUp) network.#waiting.push(pair)
      else pass(pair)
    })
    return network
  }

  get port(): number | undefined {
    return this.#relay?.port
  }

  get isWaitedFor(): boolean {
    return this.#waiting.length > 0
  }

  /** Whether neither side has a connection any more. */
  get isQuiet(): boolean {
    return this.#relay?.sockets.size === 0
  }

  holdUp(): void {
    this.#isHeldUp = true
    this.#relay?.cut()
  }

  release(): void {
    this.#isHeldUp = false
    for (const pair of this.#waiting.splice(0)) pass(pair)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#relay?.[Symbol.asyncDispose]()
  }
}

function pass({ source, destination }: RelayedPair): void {
  source.pipe(destination)
  destination.pipe(source)
}

/**
 * A machine that runs, another side that waits for it, and what is between them: under TLS, as a connection without is made before
 * anybody has answered.
 */
async function twoSides(t: ExecutionContext) {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-doubt-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const tlsDir = tlsDirectory(join(place, 'tls'), new CertificateAuthority(join(place, 'authority')))
  const [source, destination] = [aSide(t), aSide(t)]
  await source.vmm.create(config)
  await source.vmm.boot()
  const listening = Promise.withResolvers<string>()
  const received = destination.vmm.receiveMigration('tcp:127.0.0.1:0', {
    ...{ speaker: fakeSpeaker(), tlsDir, onListening: url => listening.resolve(url) },
  })
  received.catch(listening.reject)
  const network = await Network.open(Number((await listening.promise).split(':').at(-1)))
  t.teardown(() => network[Symbol.asyncDispose]())
  const send = (options: MigrationOptions = {}) => {
    const sent = source.vmm.sendMigration(`tcp:127.0.0.1:${network.port}`, {
      ...{ connections: 1, speaker: fakeSpeaker(), tlsDir, ...options },
    })
    sent.catch(() => {})
    return sent
  }
  return { source, destination, network, received, send }
}

test('a source that comes back once a person has given its machine away says nothing any more', async t => {
  const sides = await twoSides(t)
  const { source, destination, network } = sides
  source.machines.onStep = step => {
    // What is said behind it is the commit.
    if (step === 'cede') network.holdUp()
  }
  const sent = sides.send()
  for (const { events } of [source, destination]) await until(() => events.includes('migration-in-doubt'))
  const id = source.vmm.migrationProgress()?.id ?? ''
  await until(() => network.isWaitedFor)
  await source.vmm.resolveMigration(id, 'discard')
  await sent
  network.release()
  await until(() => network.isQuiet || destination.vmm.state === 'absent')
  t.is(running(sides), 'absent receiving')
  await destination.vmm.resolveMigration(id, 'keep')
  await sides.received
  t.is(running(sides), 'absent running')
})

test('a source that comes back once its machine has ended hangs up', async t => {
  const sides = await twoSides(t)
  const { source, network } = sides
  source.machines.delays.set('send', new Promise(() => {}))
  const sent = sides.send({ postcopy: 'at-once' })
  await sides.received
  await until(() => source.vmm.migrationProgress()?.phase === 'completing')
  network.holdUp()
  await until(() => network.isWaitedFor)
  await source.vmm.delete()
  await t.throwsAsync(sent, { message: 'migration: the machine has ended' })
  network.release()
  await until(() => network.isQuiet)
  t.is(source.vmm.state, 'absent')
})
