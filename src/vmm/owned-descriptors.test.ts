import test from 'ava'
import { parseVmConfig } from '../config/vm-config.ts'
import { OwnedDescriptors } from './owned-descriptors.ts'

function aSet() {
  const closed: number[] = []
  const handed = (...fds: number[]) => ({ fds, close: () => closed.push(...fds) })
  const config = (...cards: number[][]) => {
    const net = cards.map(fds => ({ fds, num_queues: 2 * fds.length }))
    return parseVmConfig({ payload: { kernel: 'k' }, net })
  }
  return { owned: new OwnedDescriptors(), closed, handed, config }
}

test('descriptors are kept as long as the configuration names them', async t => {
  const { owned, closed, handed, config } = aSet()
  t.is(
    await owned.with(
      [handed(10), handed(11, 12)],
      async () => 'done',
      () => config([10], [11, 12]),
    ),
    'done',
  )
  owned.keepFor(config([11, 12], [10]))
  t.deepEqual(closed, [])
  owned.keepFor(config([11, 12]))
  t.deepEqual(closed, [10])
  owned.keepFor(undefined)
  owned.keepFor(undefined)
  t.deepEqual(closed, [10, 11, 12])
})

test('they are closed where what they are for fails, or is gone by then', async t => {
  const { owned, closed, handed, config } = aSet()
  const fail = async () => {
    throw new Error('no room')
  }
  await t.throwsAsync(
    owned.with([handed(10)], fail, () => config()),
    { message: 'no room' },
  )
  t.deepEqual(closed, [10])
  await owned.with(
    [handed(11)],
    async () => {},
    () => config([12]),
  )
  t.deepEqual(closed, [10, 11])
})
