import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import test from 'ava'
import { parseVmConfig } from '../config/vm-config.ts'
import { encodePreamble } from '../migration/preamble.ts'
import { Relay } from '../migration/testing/relay.ts'
import { mutate } from '../util/testing/mutate.ts'
import { below, type Random, randomOf } from '../util/testing/random.ts'
import { FakeMachines, fakeSpeaker } from './testing/fake-machine.ts'
import { Vmm } from './vmm.ts'

const config = parseVmConfig({ payload: { kernel: 'vmlinux' }, disks: [{ path: 'a.img' }] })
const seconds = Number(process.env['TSVMM_FUZZ_SECONDS'] ?? 10)
const seed = Number(process.env['TSVMM_FUZZ_SEED'] ?? 1)
const [preambleBytes, headerBytes] = [32, 20]
const id = 'ab'.repeat(16)

function aVmm(): Vmm {
  const { createVm, receiveVm } = new FakeMachines()
  return new Vmm({ createVm, receiveVm, outlivesVm: true })
}

/** Waits at `path`; what becomes of it. */
async function waiting(vmm: Vmm, path: string): Promise<{ readonly outcome: Promise<unknown> }> {
  const listening = Promise.withResolvers<void>()
  const options = {
    speaker: fakeSpeaker(),
    peerTimeoutMs: 5_000,
    resolveMs: 100,
    onListening: () => listening.resolve(),
  }
  const outcome = vmm.receiveMigration(`unix:${path}`, options).catch((error: unknown) => error)
  await Promise.race([listening.promise, outcome])
  return { outcome }
}

/** The messages of a source, as it wrote them. */
async function spoken(place: string): Promise<Uint8Array[]> {
  const [source, destination] = [aVmm(), aVmm()]
  const [near, far] = [join(place, 'near'), join(place, 'far')]
  const said: Buffer[] = []
  await using _relay = await Relay.open({ path: near }, { path: far }, ({ source: from, destination: to }) => {
    to.pipe(from)
    let isControl = false
    from.once('data', first => {
      isControl = first.readUInt32LE(8) === 0
    })
    from.on('data', bytes => {
      to.write(bytes)
      if (isControl) said.push(bytes)
    })
  })
  await source.create(config)
  await source.boot()
  const { outcome } = await waiting(destination, far)
  await source.sendMigration(`unix:${near}`, { connections: 1, speaker: fakeSpeaker() })
  await outcome
  await source.close()
  await destination.close()
  const messages: Uint8Array[] = []
  for (let rest = Buffer.concat(said).subarray(preambleBytes); rest.length > headerBytes; ) {
    const end = headerBytes + rest.readUInt32LE(4)
    messages.push(rest.subarray(headerBytes, end))
    rest = rest.subarray(end)
  }
  return messages
}

function framed(content: Uint8Array, sequence: number): Buffer {
  const head = Buffer.alloc(headerBytes)
  head.write('TVMC')
  head.writeUInt32LE(content.length, 4)
  head.writeUInt32LE(crc32(content), 8)
  head.writeUInt32LE(sequence, 12)
  head.writeUInt32LE(crc32(head.subarray(0, 16)), 16)
  return Buffer.concat([head, content])
}

/** Messages with changes, in an order that may be another, nearly all of them as whole as if they were meant. */
function mutated(messages: readonly Uint8Array[], random: Random): Uint8Array {
  const chosen = messages.flatMap(message => {
    if (below(random, 24) === 0) return []
    return below(random, 24) === 0 ? [message, messages[below(random, messages.length)] ?? message] : [message]
  })
  const frames = chosen.map((message, sequence) => {
    return framed(below(random, 8) === 0 ? mutate(message, random) : message, sequence)
  })
  const stream = Buffer.concat(frames)
  return below(random, 6) === 0 ? mutate(stream, random) : stream
}

async function call(path: string, preamble: Uint8Array): Promise<Socket> {
  const socket = connect(path)
  socket.on('error', () => {})
  // It may have refused by now, and is gone.
  await once(socket, 'connect').catch(() => {})
  socket.write(preamble)
  return socket
}

test('whatever a source says, its destination has the machine, or waits, or refuses it in one line', async t => {
  t.timeout(60_000 + 2_000 * seconds)
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-fuzz-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const messages = await spoken(place)
  t.true(messages.length >= 6)
  const random = randomOf(seed)
  const states = new Map<string, number>()
  const vmm = aVmm()
  const endMs = performance.now() + seconds * 1_000
  for (let round = 0; performance.now() < endMs; round += 1) {
    const what = `seed ${seed}, round ${round}`
    const path = join(place, `${round}`)
    const { outcome } = await waiting(vmm, path)
    const control = await call(path, encodePreamble({ role: 'control', number: 0, id }))
    const accepted = Promise.race([
      new Promise(resolve => control.once('data', resolve).once('close', resolve)),
      delay(50),
    ])
    control.write(mutated(messages, random))
    await accepted
    // As many connections for memory as it waits for, or fewer; what the fake machine takes for the ends of passes.
    const memory = await call(path, encodePreamble({ role: 'memory', number: below(random, 8) === 0 ? 1 : 0, id }))
    memory.write('p')
    await Promise.race([outcome, delay(5)])
    memory.write('p')
    await Promise.race([outcome, delay(30)])
    control.destroy()
    memory.destroy()
    await delay(1)
    vmm.cancelMigration()
    const settled = await Promise.race([outcome, delay(200, 'in doubt')])
    if (settled === 'in doubt') await vmm.resolveMigration(id, 'discard')
    const end = await outcome
    if (end instanceof Error) t.false(end.message.includes('\n'), `${what}: ${end.message}`)
    const state = vmm.state
    t.true(state === 'absent' || state === 'running' || state === 'paused', `${what}: ${state}`)
    states.set(state, (states.get(state) ?? 0) + 1)
    if (state !== 'absent') await vmm.delete()
  }
  await vmm.close()
  t.log(Object.fromEntries(states))
  // It must reach both.
  t.true((states.get('absent') ?? 0) > 0 && states.size > 1)
})
