import test from 'ava'
import fc from 'fast-check'
import { pack } from 'msgpackr'
import * as z from 'zod/mini'
import { defineState, largestBodyBytes, type StateRecord } from './schema.ts'

const byte = z.number().check(z.int(), z.gte(0), z.lte(0xff))
const first = defineState('timer', z.strictObject({ count: byte, enabled: z.boolean() }))
const second = first.next(z.strictObject({ count: byte, mode: z.enum(['off', 'once', 'always']) }), {
  up: ({ count, enabled }) => ({ mode: enabled ? ('always' as const) : ('off' as const), count }),
  down: ({ count, mode }) => ({ count, enabled: mode !== 'off' }),
})
const third = second.next(z.strictObject({ mode: z.enum(['off', 'once', 'always']), ticks: z.bigint() }), {
  up: ({ count, mode }) => ({ mode, ticks: BigInt(count) }),
})

const code = 'ERR_STATE_INVALID'
/** MessagePack has one zero. */
const aNumber = fc.double({ noNaN: true, noDefaultInfinity: true }).map(value => (value === 0 ? 0 : value))

function record(version: number, value: unknown, id = 'timer'): StateRecord {
  return { id, version, body: pack(value) }
}

test('versions count from 1', t => {
  t.deepEqual([first.version, second.version, third.version], [1, 2, 3])
  t.is(third.id, 'timer')
})

test('a state comes back as it was, whatever kind of values it has', t => {
  const schema = defineState(
    'everything',
    z.strictObject({
      ...{ small: byte, big: z.bigint(), large: z.number(), text: z.string(), flag: z.boolean() },
      ...{
        bytes: z.instanceof(Uint8Array),
        list: z.array(z.strictObject({ on: z.boolean() })),
        none: z.optional(byte),
      },
    }),
  )
  fc.assert(
    fc.property(
      fc.record({
        ...{ small: fc.nat(255), big: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), large: aNumber },
        ...{ text: fc.string(), flag: fc.boolean(), bytes: fc.uint8Array() },
        list: fc.array(fc.record({ on: fc.boolean() })),
      }),
      state => {
        const encoded = schema.encode(state)
        const decoded = schema.decode(encoded)
        t.deepEqual({ ...decoded, bytes: Uint8Array.from(decoded.bytes) }, state)
        t.deepEqual(schema.encode(decoded).body, encoded.body)
      },
    ),
  )
})

test('the same state has the same bytes, in whatever order its fields were set', t => {
  t.deepEqual(first.encode({ enabled: true, count: 3 }).body, first.encode({ count: 3, enabled: true }).body)
})

test('an older version climbs to the newest, step by step', t => {
  t.deepEqual(third.decode(first.encode({ count: 7, enabled: true })), { mode: 'always', ticks: 7n })
  t.deepEqual(third.decode(second.encode({ count: 7, mode: 'once' })), { mode: 'once', ticks: 7n })
})

test('an older release is served where a step leads down', t => {
  const older = second.encode({ count: 7, mode: 'once' }, 1)
  t.is(older.version, 1)
  t.deepEqual(first.decode(older), { count: 7, enabled: true })
  const state = { mode: 'off' as const, ticks: 1n }
  t.throws(() => third.encode(state, 1), { code, message: 'timer: version 3 cannot be written as version 1' })
  t.throws(() => third.encode(state, 4), { code, message: 'timer: there is no version 4' })
  t.throws(() => first.encode({ count: 1, enabled: true }, 0), { code, message: 'timer: there is no version 0' })
})

test('a state is written for the oldest release that could have it', t => {
  t.deepEqual(second.encodeForOldest({ mode: 'off', count: 7 }), first.encode({ count: 7, enabled: false }))
  t.deepEqual(second.encodeForOldest({ count: 7, mode: 'always' }), first.encode({ count: 7, enabled: true }))
  // Nothing before version 2 could say that.
  t.is(second.encodeForOldest({ count: 7, mode: 'once' }).version, 2)
  t.is(third.encodeForOldest({ mode: 'off', ticks: 1n }).version, 3)
  const fourth = third.next(
    z.strictObject({ mode: z.enum(['off', 'once', 'always']), ticks: z.bigint(), late: byte }),
    {
      up: old => ({ ...old, late: 0 }),
      down: ({ late, ...old }) => (late === 0 ? old : undefined),
    },
  )
  t.is(fourth.encodeForOldest({ mode: 'off', ticks: 1n, late: 0 }).version, 3)
  t.is(fourth.encodeForOldest({ mode: 'off', ticks: 1n, late: 1 }).version, 4)
  const late = { mode: 'off' as const, ticks: 1n, late: 1 }
  t.throws(() => fourth.encode(late, 3), { code, message: 'timer: version 4 cannot be written as version 3' })
})

test('how old a version can be written is known', t => {
  t.deepEqual([first.oldestWritable, second.oldestWritable, third.oldestWritable], [1, 1, 3])
})

test('a record is checked at its own version, and what is wrong with it is named', t => {
  const wrong: readonly (readonly [StateRecord, RegExp])[] = [
    [record(1, { count: 256, enabled: true }), /^timer: version 1: count: must be at most 255$/],
    [record(1, { count: 1.5, enabled: true }), /^timer: version 1: count: /],
    [record(1, { count: 1, enabled: 'yes' }), /^timer: version 1: enabled: /],
    [record(1, { count: 1 }), /^timer: version 1: enabled: is missing$/],
    [record(1, { count: 1, enabled: true, more: 1 }), /^timer: version 1: unknown key more$/],
    [record(2, { count: 1, enabled: true }), /^timer: version 2: /],
    [record(1, [1, true]), /^timer: version 1: must be of type object$/],
    [record(1, null), /^timer: version 1: must be of type object$/],
    [record(4, {}), /^timer: version 4 is newer than 3, the newest that is known here$/],
    [record(0, {}), /^timer: there is no version 0$/],
    [record(-1, {}), /^timer: there is no version -1$/],
    [record(1.5, { count: 1, enabled: true }), /^timer: there is no version 1.5$/],
    [record(Number.NaN, {}), /^timer: there is no version NaN$/],
    [record(1, {}, 'clock'), /^timer: this is the state of clock$/],
  ]
  for (const [each, message] of wrong) t.throws(() => third.decode(each), { code, message })
})

test('what is no MessagePack, or too much of it, is refused in one line', t => {
  const whole = first.encode({ count: 1, enabled: true }).body
  const nested = new Uint8Array(1_000_000).fill(0x91)
  for (const body of [whole.subarray(0, -1), Buffer.concat([whole, whole]), new Uint8Array(0), nested]) {
    const error = t.throws(() => first.decode({ id: 'timer', version: 1, body }), { code })
    t.false(error?.message.includes('\n'))
  }
  const body = new Uint8Array(largestBodyBytes + 1)
  t.throws(() => first.decode({ id: 'timer', version: 1, body }), { code, message: /more than any state has/ })
})

test('whatever the bytes are, a state of the shape comes out or the named error', t => {
  const isState = (body: Uint8Array) => {
    try {
      const { count, enabled } = first.decode({ id: 'timer', version: 1, body })
      return Number.isInteger(count) && count >= 0 && count <= 0xff && typeof enabled === 'boolean'
    } catch (error) {
      return error instanceof Error && 'code' in error && error.code === code
    }
  }
  const whole = first.encode({ count: 200, enabled: true }).body
  const fails = fc.check(
    fc.property(fc.uint8Array({ maxLength: 64 }), body => isState(body)),
    { numRuns: 1_000 },
  )
  t.false(fails.failed, String(fails.counterexample))
  const changes = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 })
  const changed = fc.check(
    fc.property(changes, each => {
      const body = Uint8Array.from(whole)
      for (const [offset, value] of each) body[offset] = value
      return isState(body)
    }),
    { numRuns: 1_000 },
  )
  t.false(changed.failed, String(changed.counterexample))
})

test('a name in a record does not steer the terminal', t => {
  const body = pack({ count: 1, enabled: true, 'a\n\u001b[2J': 1 })
  t.throws(() => first.decode({ id: 'timer', version: 1, body }), {
    code,
    message: 'timer: version 1: unknown key a??[2J',
  })
})

test('a state of our own that has not the shape is not written', t => {
  t.throws(() => first.encode({ count: 256, enabled: true }), { code, message: /^timer: version 1: count: / })
})
