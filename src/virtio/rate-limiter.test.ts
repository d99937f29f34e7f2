import test from 'ava'
import { holdsItsState, moveState } from '../state/testing/round-trip.ts'
import { PausableLimiter, RateLimitGroup } from './rate-limiter.ts'
import { FakeLimiter } from './testing/fake-limiter.ts'

test('nothing fills while the machine is paused', t => {
  const limiter = new FakeLimiter({ bytes: { burst: 5, budget: 100 } })
  const pausable = new PausableLimiter(limiter)
  pausable.pause()
  limiter.setLevels({ bytes: { burst: 5, budget: 200 } })
  pausable.pause()
  t.deepEqual(pausable.save(), { bytes: { burst: 5, budget: 100 } })
  pausable.resume()
  t.deepEqual(limiter.levels(), { bytes: { burst: 5, budget: 100 } })
  limiter.setLevels({ bytes: { burst: 0, budget: -7 } })
  pausable.resume()
  t.deepEqual(pausable.save(), { bytes: { burst: 0, budget: -7 } })
})

test('what a group has left travels', async t => {
  const [one, other] = [
    new FakeLimiter({ operations: { burst: 0, budget: -3 } }),
    new FakeLimiter({ operations: { burst: 9, budget: 9 } }),
  ]
  const [group, moved] = [new RateLimitGroup('slow', one), new RateLimitGroup('slow', other)]
  for (const each of [group, moved]) await each.pause()
  moveState(group, moved)
  moved.resume()
  t.deepEqual(other.levels(), one.levels())
  holdsItsState(t, group)
})

test('what was saved of other limits is refused', t => {
  const group = new RateLimitGroup('slow', new FakeLimiter({ operations: { burst: 0, budget: 1 } }))
  const other = new RateLimitGroup('slow', new FakeLimiter({ bytes: { burst: 0, budget: 1 } }))
  const message = '__rate_limit_group_slow: it was saved with other limits'
  t.throws(() => moveState(group, other), { code: 'ERR_STATE_INVALID', message })
})
