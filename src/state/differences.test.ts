import test from 'ava'
import fc from 'fast-check'
import { differencesOf } from './differences.ts'

test('each field that differs is named with both values', t => {
  const first = { a: 1, same: [1, { b: 2n }], queues: [{ size: 4 }, { size: 8 }], gone: true }
  const second = { a: 2, same: [1, { b: 2n }], queues: [{ size: 4 }, { size: 16 }], more: 0x10n }
  t.deepEqual(differencesOf(first, second), [
    { field: 'a', first: '1', second: '2' },
    { field: 'queues.1.size', first: '8', second: '16' },
    { field: 'gone', first: 'true', second: '-' },
    { field: 'more', first: '-', second: '0x10' },
  ])
})

test('of bytes it is said how many differ, and from where on', t => {
  const first = Uint8Array.from({ length: 20 }, (_, index) => index)
  const second = first.with(3, 0xff).with(19, 0)
  t.deepEqual(differencesOf({ regs: first }, { regs: second }), [
    {
      field: 'regs',
      first: '030405060708090a (2 of 20 bytes differ from 3 on)',
      second: 'ff0405060708090a (2 of 20 bytes differ from 3 on)',
    },
  ])
  const [longer] = differencesOf(first, first.subarray(0, 18))
  t.is(longer?.first, '1213 (2 of 20 bytes differ from 18 on)')
})

test('nothing differs from its copy, whatever it is', t => {
  const state = fc.object({ withBigInt: true, withTypedArray: false, depthSize: 'small' })
  fc.assert(fc.property(state, value => t.deepEqual(differencesOf(value, structuredClone(value)), [])))
})
