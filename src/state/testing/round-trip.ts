import type { ExecutionContext } from 'ava'
import fc from 'fast-check'
import { hasCode } from '../../util/errors.ts'
import type { Carrier, Snapshottable } from '../carried.ts'
import { loadAll, saveAll } from '../walk.ts'
import { statesLike } from './arbitrary.ts'

/**
 * Whatever state its schema lets through, a component either refuses it by name or has it afterwards: written, read, loaded
 * and saved again it has the same bytes; where it is not `exact` (a list may leave out what is as at power-on), so has what
 * it saves then. Stateless and pinned ones hold trivially.
 */
export function holdsItsState(t: ExecutionContext, { name, state }: Carrier, { runs = 200, exact = true } = {}): void {
  if (state.kind !== 'saved') return
  const { part } = state
  const shape = part.schema.shapes.at(-1)
  if (shape === undefined) throw new RangeError(`${name} has no shape`)
  let taken = 0
  const property = fc.property(statesLike(shape, part.save()), given => {
    if (!takes(part, given)) return true
    taken += 1
    const saved = part.save()
    return exact ? isSame(part, saved, given) : takes(part, saved) && isSame(part, part.save(), saved)
  })
  const { failed, counterexample } = fc.check(property, { numRuns: runs })
  t.false(failed, `${name}: ${inspect(counterexample)}`)
  t.true(taken > 0, `${name} has taken none of ${runs} states`)
}

/** Whether the component did not refuse the state by name. */
function takes(part: Snapshottable<unknown>, given: unknown): boolean {
  try {
    part.load(part.schema.decode(part.schema.encode(given)))
    return true
  } catch (error) {
    if (hasCode(error, 'ERR_STATE_INVALID')) return false
    throw error
  }
}

function isSame({ schema }: Snapshottable<unknown>, one: unknown, other: unknown): boolean {
  return Buffer.compare(schema.encode(one).body, schema.encode(other).body) === 0
}

/** Saves one and loads the other, as between two machines. Both are paused. */
export function moveState(from: Carrier, to: Carrier): void {
  loadAll([to], saveAll([from]))
}

function inspect(value: unknown): string {
  return JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? `${each}n` : each))
}
