import {
  type DestinationInput,
  type DestinationState,
  destinationStep,
  type SourceInput,
  type SourceState,
  sourceGreeting,
  sourceStep,
} from '../handover.ts'

/** What goes over the connection: the names are the inputs of who gets it. */
type ToDestination = 'state' | 'commit' | 'abort'
type ToSource = 'ready' | 'failed' | 'owned' | 'returned'

interface Ends {
  /** What each side believes. A side that has not noticed yet that the connection is gone still gets what had arrived. */
  readonly source: boolean
  readonly destination: boolean
}

/** Everything that counts of both sides and what is between them. */
export interface World {
  readonly source: SourceState | 'crashed'
  readonly destination: DestinationState | 'crashed'
  readonly sourceRuns: boolean
  readonly destinationRuns: boolean
  readonly lock: 'source' | 'destination' | 'nobody'
  readonly isConnected: Ends
  /** The source is to connect again. */
  readonly dials: boolean
  readonly toDestination: readonly ToDestination[]
  readonly toSource: readonly ToSource[]
  /** A person has decided something. */
  readonly decided: boolean
  /** What may still go wrong. */
  readonly losses: number
  readonly crashes: number
}

export interface Transition {
  readonly name: string
  readonly world: World
}

export function beginning(losses: number, crashes: number): World {
  return {
    ...{ source: 'moving', destination: 'receiving', sourceRuns: true, destinationRuns: false, lock: 'source' },
    ...{ isConnected: { source: true, destination: true }, dials: false, toDestination: [], toSource: [] },
    ...{ decided: false, losses, crashes },
  }
}

/** `hasLocks`: the machine has disks with locks that both sides see. */
export function transitions(world: World, hasLocks: boolean): Transition[] {
  return [
    ...sourceActs(world, hasLocks),
    ...destinationActs(world, hasLocks),
    ...connectionActs(world, hasLocks),
    ...crashes(world),
    ...decisions(world, hasLocks),
  ]
}

/** What goes on by itself, without a failure, a decision or a change of mind. */
export function isProgress({ name }: Transition): boolean {
  return !/loses|crashes|cancelled|person|fails|cannot/.test(name)
}

function sourceActs(world: World, hasLocks: boolean): Transition[] {
  const acts: Transition[] = []
  if (world.source === 'crashed') return acts
  if (world.source === 'moving' && world.isConnected.source) {
    const paused = { ...world, sourceRuns: false, toDestination: [...world.toDestination, 'state' as const] }
    acts.push({ name: 'source offers', world: source(paused, 'offer', hasLocks) })
  }
  if (sourceStep(world.source, 'cancel').state !== world.source) {
    acts.push({ name: 'source is cancelled', world: source(world, 'cancel', hasLocks) })
  }
  const [first, ...rest] = world.toSource
  if (first !== undefined && world.isConnected.source) {
    acts.push({ name: `source gets ${first}`, world: source({ ...world, toSource: rest }, first, hasLocks) })
  }
  return acts
}

function destinationActs(world: World, hasLocks: boolean): Transition[] {
  const acts: Transition[] = []
  if (world.destination === 'crashed') return acts
  if (world.destination === 'receiving') {
    acts.push({ name: 'destination fails', world: destination(world, 'fail', hasLocks) })
  }
  const [first, ...rest] = world.toDestination
  if (first === undefined || !world.isConnected.destination) return acts
  const left = { ...world, toDestination: rest }
  if (first === 'state') {
    acts.push({ name: 'destination loads', world: destination(left, 'loaded', hasLocks) })
    acts.push({ name: 'destination cannot load', world: destination(left, 'fail', hasLocks) })
    return acts
  }
  if (first === 'abort') {
    acts.push({ name: 'destination gets abort', world: destination(left, 'abort', hasLocks) })
    return acts
  }
  if (!hasLocks || world.lock !== 'source') {
    acts.push({ name: 'destination gets commit', world: destination(left, 'commit', hasLocks) })
  }
  // Somebody else may have it.
  acts.push({ name: 'destination cannot lock', world: destination(left, 'commit-unlocked', hasLocks) })
  return acts
}

function connectionActs(world: World, hasLocks: boolean): Transition[] {
  const { isConnected, source: from, destination: at, dials } = world
  const acts: Transition[] = []
  const isWhole = isConnected.source && isConnected.destination
  const verb = isWhole ? 'loses' : 'notices the end of'
  const broken = { ...world, losses: world.losses - (isWhole ? 1 : 0) }
  // One side notices first. The other one may still get what had arrived, or some of it, until it notices, too.
  if (isConnected.source && (isWhole ? world.losses > 0 : true)) {
    const gone = { ...broken, isConnected: { ...isConnected, source: false }, toSource: [] }
    acts.push({ name: `source ${verb} the connection`, world: source(gone, 'lost', hasLocks) })
  }
  if (isConnected.destination && (isWhole ? world.losses > 0 : true)) {
    const gone = { ...broken, isConnected: { ...isConnected, destination: false }, toDestination: [] }
    acts.push({ name: `destination ${verb} the connection`, world: destination(gone, 'lost', hasLocks) })
  }
  const greeting = from === 'crashed' ? undefined : sourceGreeting(from)
  if (dials && greeting !== undefined && at !== 'crashed') {
    // A destination that has not noticed that the old connection is gone hears so now: the new one takes its place.
    const met = { ...world, dials: false, isConnected: { source: true, destination: true }, toSource: [] }
    const heard = isConnected.destination ? destination(met, 'lost', hasLocks) : met
    acts.push({ name: `source comes back with ${greeting}`, world: { ...heard, toDestination: [greeting] } })
  }
  return acts
}

function crashes(world: World): Transition[] {
  if (world.crashes === 0) return []
  const { source: from, destination: at, isConnected, lock } = world
  const fewer = { ...world, crashes: world.crashes - 1 }
  const acts: Transition[] = []
  if (from !== 'crashed') {
    const gone = { source: 'crashed', sourceRuns: false, dials: false, toSource: [] } as const
    const free = lock === 'source' ? 'nobody' : lock
    const ends = { ...isConnected, source: false }
    acts.push({ name: 'source crashes', world: { ...fewer, ...gone, lock: free, isConnected: ends } })
  }
  if (at !== 'crashed') {
    const gone = { destination: 'crashed', destinationRuns: false, toDestination: [] } as const
    const free = lock === 'destination' ? 'nobody' : lock
    const ends = { ...isConnected, destination: false }
    acts.push({ name: 'destination crashes', world: { ...fewer, ...gone, lock: free, isConnected: ends } })
  }
  return acts
}

/** A person looks at both sides, and decides only what is not decided. */
function decisions(world: World, hasLocks: boolean): Transition[] {
  const { source: from, destination: at } = world
  const decided = { ...world, decided: true }
  const acts: Transition[] = []
  const isGone = at === 'crashed' || at === 'discarded' || at === 'returned'
  if (from === 'committed' && isGone && world.lock !== 'destination') {
    const locked = { ...decided, lock: 'source' as const }
    acts.push({ name: 'the person keeps the source', world: source(locked, 'keep', hasLocks) })
  }
  if (from === 'committed' && at === 'owner') {
    acts.push({ name: 'the person gives up the source', world: source(decided, 'discard', hasLocks) })
  }
  if (at === 'ready' && (from === 'crashed' || from === 'committed' || from === 'moved') && world.lock !== 'source') {
    acts.push({ name: 'the person keeps the destination', world: destination(decided, 'keep', hasLocks) })
  }
  if (at === 'ready' && from !== 'moved') {
    acts.push({ name: 'the person gives up the destination', world: destination(decided, 'discard', hasLocks) })
  }
  return acts
}

function source(world: World, input: SourceInput, hasLocks: boolean): World {
  if (world.source === 'crashed') return world
  const { state, actions } = sourceStep(world.source, input)
  let next: World = { ...world, source: state }
  for (const action of actions) {
    if (action === 'release-locks') next = { ...next, lock: 'nobody' }
    if (action === 'take-locks' && (!hasLocks || next.lock === 'nobody')) next = { ...next, lock: 'source' }
    if (action === 'go-on') next = { ...next, sourceRuns: !hasLocks || next.lock === 'source' }
    if (action === 'stay-paused' || action === 'close') next = { ...next, sourceRuns: false }
    if (action === 'dial') next = { ...next, dials: true }
    if (action === 'send-commit' || action === 'send-abort') {
      const message = action === 'send-commit' ? 'commit' : 'abort'
      if (next.isConnected.source) next = { ...next, toDestination: [...next.toDestination, message] }
    }
  }
  return next
}

function destination(world: World, input: DestinationInput, hasLocks: boolean): World {
  if (world.destination === 'crashed') return world
  const { state, actions } = destinationStep(world.destination, input)
  let next: World = { ...world, destination: state }
  for (const action of actions) {
    if (action === 'go-on') next = { ...next, destinationRuns: true, lock: hasLocks ? 'destination' : next.lock }
    if (action === 'discard') next = { ...next, destinationRuns: false }
    const message = action.startsWith('send-') ? action.slice('send-'.length) : undefined
    if (message === undefined || !next.isConnected.destination) continue
    next = { ...next, toSource: [...next.toSource, asToSource(message)] }
  }
  return next
}

function asToSource(message: string): ToSource {
  if (message === 'ready' || message === 'failed' || message === 'owned' || message === 'returned') return message
  throw new RangeError(`nobody sends ${message}`)
}
