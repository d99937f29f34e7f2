import test from 'ava'
import * as z from 'zod/mini'
import type { Carrier } from './carried.ts'
import { defineState } from './schema.ts'
import { loadAll, pinnedAmong, saveAll } from './walk.ts'

const schema = defineState('counter', z.strictObject({ count: z.number().check(z.int(), z.gte(0)) }))
const code = 'ERR_STATE_INVALID'

class Counter implements Carrier {
  readonly name: string
  readonly state: Carrier['state']
  count: number

  constructor(name: string, count: number, log: string[] = []) {
    this.name = name
    this.count = count
    const load = (state: { count: number }) => {
      log.push(name)
      this.count = state.count
    }
    this.state = { kind: 'saved', part: { schema, save: () => ({ count: this.count }), load } }
  }
}

const stateless: Carrier = { name: 'bus', state: { kind: 'stateless' } }
const pinned: Carrier = { name: 'vfio0', state: { kind: 'pinned', reason: 'its device belongs to this host' } }

test('what one machine saves another loads, in the order of the list', t => {
  const log: string[] = []
  const records = saveAll([new Counter('a', 1), stateless, new Counter('b', 2)])
  t.deepEqual(
    records.map(({ component, id, version }) => `${component} ${id} ${version}`),
    ['a counter 1', 'b counter 1'],
  )
  const [a, b] = [new Counter('a', 0, log), new Counter('b', 0, log)]
  loadAll([a, stateless, b], records.toReversed())
  t.deepEqual([a.count, b.count], [1, 2])
  t.deepEqual(log, ['a', 'b'])
})

test('records that are missing, doubled or nobody’s are named, and nothing is loaded', t => {
  const records = saveAll([new Counter('a', 1), new Counter('b', 2)])
  const [first, second] = records
  if (first === undefined || second === undefined) return t.fail()
  const bad = { ...second, body: Uint8Array.of(0xc0) }
  const wrong = [
    { given: [first], message: 'b: its record is missing' },
    { given: [first, second, second], message: 'b: there are two records of it' },
    {
      given: [first, second, { ...first, component: 'c' }],
      message: 'c: the machine has no such component with state',
    },
    {
      given: [first, second, { ...first, component: 'bus' }],
      message: 'bus: the machine has no such component with state',
    },
    { given: [first, bad], message: 'counter: version 1: must be of type object' },
  ]
  for (const { given, message } of wrong) {
    const log: string[] = []
    const carriers = [new Counter('a', 0, log), stateless, new Counter('b', 0, log)]
    t.throws(() => loadAll(carriers, given), { code, message })
    t.deepEqual(log, [])
  }
})

test('what an older machine can do without is left out where it is not known', t => {
  const [old, added] = [new Counter('a', 1), new Counter('added', 0)]
  const part = {
    schema,
    save: () => ({ count: 0 }),
    load: () => {},
    isDispensable: ({ count }: { count: number }) => count === 0,
  }
  const unused: Carrier = { name: 'added', state: { kind: 'saved', part } }
  const records = saveAll([old, unused])
  t.deepEqual(
    records.map(({ isDispensable }) => isDispensable),
    [undefined, true],
  )
  const older = new Counter('a', 0)
  loadAll([older], records)
  t.is(older.count, 1)
  loadAll([new Counter('a', 0), added], records)
  const used: Carrier = { name: 'added', state: { kind: 'saved', part: { ...part, save: () => ({ count: 3 }) } } }
  t.throws(() => loadAll([older], saveAll([old, used])), {
    code,
    message: 'added: the machine has no such component with state',
  })
})

test('what is pinned is told at once, all of it', t => {
  const carriers = [new Counter('a', 1), pinned, { ...pinned, name: 'vfio1' }]
  t.deepEqual(
    pinnedAmong(carriers).map(({ name }) => name),
    ['vfio0', 'vfio1'],
  )
  const message = 'vfio0 cannot travel: its device belongs to this host'
  t.throws(() => saveAll(carriers), { code: 'ERR_STATE_PINNED', message })
})
