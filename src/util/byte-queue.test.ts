import test from 'ava'
import fc from 'fast-check'
import { ByteQueue } from './byte-queue.ts'

test('bytes come out in the order they went in, whatever the pieces', t => {
  const step = fc.oneof(
    fc.record({ push: fc.uint8Array({ maxLength: 8 }) }),
    fc.record({ take: fc.integer({ min: 0, max: 12 }) }),
    fc.record({ giveBack: fc.integer({ min: 1, max: 12 }) }),
    fc.record({ keep: fc.integer({ min: 0, max: 20 }) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), steps => {
      const queue = new ByteQueue()
      let model: number[] = []
      for (const each of steps) {
        if ('push' in each) {
          queue.push(each.push)
          model.push(...each.push)
        } else if ('keep' in each) {
          queue.keepNewest(each.keep)
          model = each.keep === 0 ? [] : model.slice(-each.keep)
        } else {
          const maximum = 'take' in each ? each.take : each.giveBack
          const taken = queue.take(maximum)
          t.true((taken?.length ?? 0) <= maximum)
          t.is(taken === undefined, model.length === 0 || maximum === 0)
          t.deepEqual([...(taken ?? [])], model.slice(0, taken?.length ?? 0))
          if ('take' in each) model = model.slice(taken?.length ?? 0)
          else queue.unshift(taken ?? new Uint8Array(0))
        }
        t.is(queue.lengthBytes, model.length)
      }
      queue.clear()
      t.is(queue.lengthBytes, 0)
      t.is(queue.take(), undefined)
    }),
  )
})
