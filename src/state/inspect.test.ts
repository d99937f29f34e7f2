import test from 'ava'
import * as z from 'zod/mini'
import { type Carrier, saved, stateless } from './carried.ts'
import { inspectComponent, listComponents } from './inspect.ts'
import { defineState } from './schema.ts'

const schema = defineState('thing', z.strictObject({ count: z.number() }))
const carriers: readonly Carrier[] = [
  { name: 'one', state: saved({ schema, save: () => ({ count: 7 }), load: () => {} }) },
  { name: 'two', state: stateless },
  { name: 'three', state: { kind: 'pinned', reason: 'it is nailed down' } },
]

test('every component says what of it travels', t => {
  t.deepEqual(listComponents(carriers), [
    { name: 'one', state: 'saved', schema: 'thing', version: 1 },
    { name: 'two', state: 'stateless' },
    { name: 'three', state: 'pinned', reason: 'it is nailed down' },
  ])
})

test('the state of one is what would be saved', t => {
  const one = { name: 'one', state: 'saved', schema: 'thing', version: 1, content: { count: 7 } } as const
  t.deepEqual(inspectComponent(carriers, 'one'), one)
  t.deepEqual(inspectComponent(carriers, 'two'), { name: 'two', state: 'stateless' })
  t.throws(() => inspectComponent(carriers, 'four'), {
    code: 'ERR_DEVICE_UNKNOWN',
    message: 'there is no device four',
  })
})
