import test from 'ava'
import { fuzz } from './run.ts'
import { targetOf } from './targets.ts'

for (const name of ['state', 'manifest', 'migration'] as const) {
  test(`whatever is done to what there is of a ${name}, it is taken or refused in one line`, t => {
    const found = fuzz(targetOf(name, 1), { seed: 1, seconds: name === 'migration' ? 10 : 30 })
    if (typeof found !== 'number') t.log(Buffer.from(found.input).toString('base64'), found.error)
    t.is(typeof found, 'number')
  })
}

test('what is neither is found, and found again with the same seed', t => {
  const target = {
    examples: [Uint8Array.of(1, 2, 3, 4)],
    judge(bytes: Uint8Array) {
      if (bytes[2] === 0xff) throw new RangeError('a defect')
    },
  }
  const first = fuzz(target, { seed: 3, seconds: 20 })
  t.like(first, { error: { message: 'a defect' } })
  t.deepEqual(fuzz(target, { seed: 3, seconds: 20 }), first)
  t.is(fuzz({ ...target, judge: () => {} }, { seed: 3, seconds: 20, inputs: 10 }), 10)
})
