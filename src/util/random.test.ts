import test from 'ava'
import { randomBytes } from './random.ts'

test('random bytes are as many as wanted, and others each time', t => {
  t.is(randomBytes(0).length, 0)
  const [one, other] = [randomBytes(16), randomBytes(16)]
  t.is(one.length, 16)
  t.notDeepEqual(one, other)
})
