import test from 'ava'
import { LateBackend } from './late-backend.ts'

function aBackend() {
  const calls: string[] = []
  const late = new LateBackend(() => {
    calls.push('make')
    return {
      setMode: mode => calls.push(`mode ${mode}`),
      start: () => calls.push('start'),
      stop: async () => [{ index: 0, nextAvailable: 1, nextUsed: 1 }],
      counters: () => ({ reads: 1n }),
      close: () => calls.push('close'),
    }
  })
  return { late, calls }
}

test('what is not open serves nothing, and can be stopped and closed', async t => {
  const { late, calls } = aBackend()
  t.throws(() => late.start([], 0n), { instanceOf: RangeError })
  t.deepEqual(await late.stop(), [])
  t.deepEqual(late.counters(), {})
  late.close()
  t.deepEqual(calls, [])
})

test('it is made when it opens, as often as that, in the mode that was set last', async t => {
  const { late, calls } = aBackend()
  late.setMode(0)
  late.open()
  late.open()
  late.setMode(1)
  late.start([], 0n)
  t.is((await late.stop()).length, 1)
  t.deepEqual(late.counters(), { reads: 1n })
  late.close()
  late.close()
  late.open()
  t.deepEqual(calls, ['make', 'mode 0', 'mode 1', 'start', 'close', 'make', 'mode 1'])
})
