import { once } from 'node:events'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import { pack } from 'msgpackr'
import { Channel, ConnectionLost } from './channel.ts'
import type { Message } from './protocol.ts'
import { socketPair } from './testing/socket-pair.ts'

const peerTimeoutMs = 60_000

async function channels(t: ExecutionContext): Promise<[Channel, Channel]> {
  const ends = await socketPair()
  const [one, other] = ends.map(socket => new Channel(socket, { peerTimeoutMs }))
  if (one === undefined || other === undefined) throw new Error('no pair')
  t.teardown(() => {
    one.close()
    other.close()
  })
  return [one, other]
}

/** A channel, and a socket to say anything to it. */
async function besieged(t: ExecutionContext, timeoutMs = peerTimeoutMs): Promise<[Channel, Socket]> {
  const [one, other] = await socketPair()
  other.on('error', () => {})
  const channel = new Channel(one, { peerTimeoutMs: timeoutMs })
  t.teardown(() => {
    channel.close()
    other.destroy()
  })
  return [channel, other]
}

function framed(
  content: Uint8Array,
  fields: Partial<Record<'magic' | 'length' | 'checksum' | 'sequence' | 'headerChecksum', number>> = {},
): Buffer {
  const head = Buffer.alloc(20)
  head.writeUInt32LE(fields.magic ?? 0x434d_5654, 0)
  head.writeUInt32LE(fields.length ?? content.length, 4)
  head.writeUInt32LE(fields.checksum ?? crc32(content), 8)
  head.writeUInt32LE(fields.sequence ?? 0, 12)
  head.writeUInt32LE(fields.headerChecksum ?? crc32(head.subarray(0, 16)), 16)
  return Buffer.concat([head, content])
}

test('messages come as they were, in their order', async t => {
  const [one, other] = await channels(t)
  const records = new Uint8Array(3_000_000).map((_, index) => index)
  const messages: Message[] = [
    { type: 'pass', number: 1, pages: 2 ** 40 },
    { type: 'state', pass: 2, records, isPaused: false, pausedMs: 1.5 },
    { type: 'abort', reason: 'enough' },
  ]
  for (const message of messages) one.send(message)
  for (const message of messages) {
    const got = await other.receive()
    // Compared by value that would take seconds.
    const state = got.type === 'state' ? { ...got, records: undefined } : got
    t.deepEqual(state, message.type === 'state' ? { ...message, records: undefined } : message)
    if (got.type === 'state') t.is(Buffer.compare(got.records, records), 0)
  }
  other.send({ type: 'bye' })
  t.deepEqual(await one.expect('bye'), { type: 'bye' })
})

test('what was sent before the end arrives, and then the end', async t => {
  const [one, other] = await channels(t)
  one.send({ type: 'commit' })
  one.close()
  one.send({ type: 'bye' })
  t.deepEqual(await other.receive(), { type: 'commit' })
  await t.throwsAsync(other.receive(), { instanceOf: ConnectionLost, message: 'the connection was ended' })
  t.true((await other.lost) instanceof ConnectionLost)
  await t.throwsAsync(one.receive(), { message: 'the connection was closed' })
})

test('another message than the one that is to come is the end', async t => {
  const [one, other] = await channels(t)
  one.send({ type: 'commit' })
  await t.throwsAsync(other.expect('hello'), { message: 'it says commit where hello was to come' })
  await one.lost
  t.true(one.isLost)
})

test('a silent peer is gone, and one that has nothing to say is not', async t => {
  const [silent] = await besieged(t, 100)
  t.regex((await silent.lost).message, /^nothing was heard for \d+ ms$/)
  const [one, other] = await socketPair()
  const [left, right] = [new Channel(one, { peerTimeoutMs: 2000 }), new Channel(other, { peerTimeoutMs })]
  const waited = await Promise.race([left.lost, new Promise(resolve => setTimeout(resolve, 3000, 'nothing'))])
  t.is(waited, 'nothing')
  left.close()
  right.close()
})

test('a peer is not gone because this side stood still', async t => {
  const patienceMs = 200
  const [one, other] = await socketPair()
  const [left, right] = [new Channel(one, { peerTimeoutMs: patienceMs }), new Channel(other, { peerTimeoutMs })]
  await new Promise(resolve => setImmediate(resolve))
  right.send({ type: 'bye' })
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3 * patienceMs)
  t.deepEqual(await left.receive(), { type: 'bye' })
  left.close()
  right.close()
})

test('what no peer writes is the end, and says what was wrong', async t => {
  const bye = pack({ type: 'bye' })
  const wrong: readonly (readonly [Uint8Array, RegExp])[] = [
    [framed(bye, { magic: 1 }), /^a message begins with something else$/],
    [framed(bye, { checksum: 1 }), /^the checksum of a message differs$/],
    [framed(bye, { headerChecksum: 1 }), /^the checksum of a header differs$/],
    [framed(bye, { sequence: 1 }), /^a message is missing or doubled$/],
    [framed(bye, { length: 17 * 2 ** 20 }), /^a message of 17825792 bytes is too long$/],
    [framed(pack({ type: 'who' })), /^a message: /],
    [framed(pack({ type: 'abort' })), /^a message: reason: is missing$/],
    [framed(pack(['bye'])), /^a message: must be of type object$/],
    [framed(new Uint8Array(0)), /^a message cannot be read: /],
    [framed(new Uint8Array(1000).fill(0x91)), /^a message/],
  ]
  for (const [bytes, message] of wrong) {
    const [channel, peer] = await besieged(t)
    peer.write(bytes)
    await t.throwsAsync(channel.receive(), { instanceOf: ConnectionLost, message })
  }
})

test('what was said last is heard by a peer that is about to say something itself', async t => {
  const [channel, peer] = await besieged(t)
  peer.pause()
  channel.send({ type: 'failed', reason: 'no room' })
  channel.close()
  await delay(50)
  peer.write(framed(pack({ type: 'beat' })))
  await delay(50)
  const other = new Channel(peer, { peerTimeoutMs })
  t.teardown(() => other.close())
  peer.resume()
  t.deepEqual(await other.receive(), { type: 'failed', reason: 'no room' })
})

test('a peer that is silent and stays is not waited for', async t => {
  const [channel, peer] = await besieged(t)
  const closed = once(peer, 'close')
  peer.pause()
  channel.close()
  await delay(1_500)
  peer.resume()
  await closed
  await t.throwsAsync(channel.receive(), { instanceOf: ConnectionLost })
})

test('a peer that says more and more is not listened to', async t => {
  const [channel, peer] = await besieged(t)
  for (let sequence = 0; sequence < 300; sequence += 1) peer.write(framed(pack({ type: 'bye' }), { sequence }))
  t.is((await channel.lost).message, 'it says more than anybody asked for')
})
