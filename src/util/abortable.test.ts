import test from 'ava'
import { abortable } from './abortable.ts'

test('a promise that settles first is what it is', async t => {
  const { signal } = new AbortController()
  t.is(await abortable(Promise.resolve(1), signal), 1)
  await t.throwsAsync(abortable(Promise.reject(new RangeError('no')), signal), { instanceOf: RangeError })
})

test('a signal ends the wait with its reason', async t => {
  const controller = new AbortController()
  const waiting = abortable(new Promise(() => {}), controller.signal)
  controller.abort(new RangeError('enough'))
  await t.throwsAsync(waiting, { message: 'enough' })
  await t.throwsAsync(abortable(Promise.resolve(1), controller.signal), { message: 'enough' })
})
