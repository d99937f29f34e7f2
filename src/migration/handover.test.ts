import test from 'ava'
import { destinationStep, sourceStep } from './handover.ts'
import { beginning, isProgress, type Transition, transitions, type World } from './testing/handover-model.ts'

/** Every world that can be reached, with the way to it. */
function explore(
  hasLocks: boolean,
  losses: number,
  crashes: number,
): { worlds: Map<string, World>; ways: Map<string, string> } {
  const first = beginning(losses, crashes)
  const worlds = new Map([[JSON.stringify(first), first]])
  const ways = new Map([[JSON.stringify(first), '']])
  for (const [key, world] of worlds) {
    for (const { name, world: next } of transitions(world, hasLocks)) {
      const nextKey = JSON.stringify(next)
      if (worlds.has(nextKey)) continue
      worlds.set(nextKey, next)
      ways.set(nextKey, `${ways.get(key)}${name}; `)
    }
  }
  return { worlds, ways }
}

/** Worlds in which nothing goes on by itself any more. */
function isAtRest(world: World, hasLocks: boolean): boolean {
  return !transitions(world, hasLocks).some(isProgress)
}

/** Whatever the source does, the destination has said that it is ready, or the source that it has committed. */
function isInDoubt({ source, destination }: World): boolean {
  return source === 'committed' || destination === 'ready'
}

for (const hasLocks of [true, false]) {
  const what = hasLocks ? 'with locked disks' : 'without disks'

  test(`there are never two machines, and one only where nobody has crashed or given it up (${what})`, t => {
    const { worlds, ways } = explore(hasLocks, 2, 1)
    t.true(worlds.size > 100, `only ${worlds.size} worlds`)
    for (const [key, world] of worlds) {
      const way = ways.get(key)
      const { source, destination, sourceRuns, destinationRuns, lock } = world
      if (sourceRuns && destinationRuns) return t.fail(`both run: ${way}`)
      if (hasLocks && sourceRuns && lock !== 'source') return t.fail(`the source runs without its locks: ${way}`)
      if (hasLocks && destinationRuns && lock !== 'destination')
        return t.fail(`the destination runs without its locks: ${way}`)
      if (source === 'committed' && sourceRuns) return t.fail(`it runs after the commit: ${way}`)
      if (destination === 'ready' && destinationRuns) return t.fail(`it runs before the commit: ${way}`)
      if (!isAtRest(world, hasLocks) || sourceRuns || destinationRuns) continue
      // Nobody runs, and nothing will change that: a crash took it, somebody is to decide, or has decided.
      const hasCrashed = source === 'crashed' || destination === 'crashed'
      if (!hasCrashed && !world.decided && !isLockedOut(world)) return t.fail(`nobody runs: ${way}${key}`)
    }
    t.pass()
  })

  test(`without a crash both come to know who has it, however often the connection breaks (${what})`, t => {
    const { worlds, ways } = explore(hasLocks, 3, 0)
    for (const [key, world] of worlds) {
      if (!isAtRest(world, hasLocks) || world.decided) continue
      if (isInDoubt(world)) return t.fail(`in doubt: ${ways.get(key)}${key}`)
      t.true(['moved', 'over'].includes(world.source), ways.get(key))
    }
  })

  test(`a person has a decision to make only where a crash left one, and can then make it (${what})`, t => {
    const { worlds, ways } = explore(hasLocks, 1, 1)
    let doubts = 0
    for (const [key, world] of worlds) {
      if (!isAtRest(world, hasLocks) || !isInDoubt(world)) continue
      doubts += 1
      const decisions = transitions(world, hasLocks).filter(({ name }) => name.includes('person'))
      const isMade = ({ world: next }: Transition) => next.sourceRuns || next.destinationRuns
      t.true(decisions.some(isMade), `${ways.get(key)}${key}`)
    }
    t.true(doubts > 0)
  })
}

/** The source that got it back finds that somebody else has its disk. */
function isLockedOut({ source, lock }: World): boolean {
  return source === 'over' && lock !== 'source'
}

test('nothing follows from what is not expected', t => {
  t.deepEqual(sourceStep('moved', 'returned'), { state: 'moved', actions: [] })
  t.deepEqual(sourceStep('committed', 'cancel'), { state: 'committed', actions: [] })
  t.deepEqual(destinationStep('receiving', 'commit'), { state: 'receiving', actions: [] })
  t.deepEqual(destinationStep('owner', 'lost'), { state: 'owner', actions: [] })
})
