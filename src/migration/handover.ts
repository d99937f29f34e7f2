/**
 * Who has the machine, decided without I/O: both sides of the last part of a migration as tables of what follows from what.
 *
 * The source offers the machine, paused. The destination loads it and says that it is ready. From the moment at which the source
 * commits it never goes on by itself; the destination goes on only once it has heard of that, and holds the locks of the disks by
 * then. Everything before the commit that fails leaves the machine with the source. Where the commit or its answer is lost both
 * keep it, paused, until they meet again, as the source asks by saying what it has said last, or until a person decides.
 *
 *     source:       moving -> offered -> committed -> moved         destination:  receiving -> ready -> owner
 *                      |         '--> kept <--' |                                     '-----------'--> discarded, returned
 *                      '-----------> over <-----'
 *
 * In `kept` the machine is the source's, and the destination is still to be told; in `over` it knows.
 */
export type SourceState = 'moving' | 'offered' | 'committed' | 'moved' | 'kept' | 'over'

/** What the source hears: from the destination, of the connection, from whoever wants to end it, or from a person in doubt. */
export type SourceInput =
  /** The machine is paused and its state is on its way. */
  | 'offer'
  | 'ready'
  | 'failed'
  | 'owned'
  | 'returned'
  | 'lost'
  | 'cancel'
  /** The person knows that the destination does not have it, and the locks of the disks could be taken. */
  | 'keep'
  /** The person knows that the destination has it, or wants it no more. */
  | 'discard'

export type SourceAction =
  | 'release-locks'
  | 'take-locks'
  | 'send-commit'
  | 'send-abort'
  /** It runs if it ran before. */
  | 'go-on'
  /** It does not run, whatever else: the destination has it. */
  | 'stay-paused'
  /** The connection is to be made again, until the destination has been told what was decided. */
  | 'dial'
  | 'close'

export interface SourceStep {
  readonly state: SourceState
  readonly actions: readonly SourceAction[]
}

type Table<State extends string, Input extends string, Step> = Readonly<
  Record<State, Readonly<Partial<Record<Input, Step>>>>
>

function to<State, Action>(state: State, ...actions: Action[]): { state: State; actions: readonly Action[] } {
  return { state, actions }
}

const sourceTable: Table<SourceState, SourceInput, SourceStep> = {
  moving: {
    offer: to('offered'),
    failed: to('over', 'go-on'),
    lost: to('over', 'go-on'),
    cancel: to('over', 'send-abort', 'go-on'),
  },
  offered: {
    ready: to('committed', 'release-locks', 'send-commit'),
    failed: to('over', 'go-on'),
    // It may be ready, and waits then.
    lost: to('kept', 'go-on', 'dial'),
    cancel: to('kept', 'send-abort', 'go-on'),
  },
  committed: {
    owned: to('moved', 'close'),
    returned: to('over', 'take-locks', 'go-on'),
    lost: to('committed', 'dial'),
    keep: to('kept', 'go-on', 'dial'),
    discard: to('moved', 'close'),
  },
  kept: {
    failed: to('over'),
    returned: to('over'),
    lost: to('kept', 'dial'),
    // Only where the person was wrong.
    owned: to('moved', 'stay-paused'),
  },
  moved: {},
  over: {},
}

/** What follows; nothing does from what is not expected. */
export function sourceStep(state: SourceState, input: SourceInput): SourceStep {
  return sourceTable[state][input] ?? { state, actions: [] }
}

/** What the source says first where it meets the destination again. */
export function sourceGreeting(state: SourceState): 'commit' | 'abort' | undefined {
  if (state === 'committed') return 'commit'
  return state === 'kept' ? 'abort' : undefined
}

export type DestinationState = 'receiving' | 'ready' | 'owner' | 'discarded' | 'returned'

export type DestinationInput =
  /** The state is loaded. */
  | 'loaded'
  /** It cannot be loaded, or received. */
  | 'fail'
  /** The source has committed, and the locks of the disks could be taken. */
  | 'commit'
  /** They could not. */
  | 'commit-unlocked'
  | 'abort'
  | 'lost'
  /** The person knows that the source does not have it, and the locks could be taken. */
  | 'keep'
  | 'discard'

export type DestinationAction = 'send-ready' | 'send-failed' | 'send-owned' | 'send-returned' | 'go-on' | 'discard'

export interface DestinationStep {
  readonly state: DestinationState
  readonly actions: readonly DestinationAction[]
}

const destinationTable: Table<DestinationState, DestinationInput, DestinationStep> = {
  receiving: {
    loaded: to('ready', 'send-ready'),
    fail: to('discarded', 'send-failed', 'discard'),
    abort: to('discarded', 'discard', 'send-returned'),
    lost: to('discarded', 'discard'),
  },
  ready: {
    commit: to('owner', 'go-on', 'send-owned'),
    'commit-unlocked': to('returned', 'discard', 'send-returned'),
    abort: to('discarded', 'discard', 'send-returned'),
    keep: to('owner', 'go-on', 'send-owned'),
    discard: to('discarded', 'discard'),
  },
  owner: {
    commit: to('owner', 'send-owned'),
    'commit-unlocked': to('owner', 'send-owned'),
    abort: to('owner', 'send-owned'),
  },
  discarded: {
    commit: to('discarded', 'send-returned'),
    'commit-unlocked': to('discarded', 'send-returned'),
    abort: to('discarded', 'send-returned'),
  },
  returned: {
    commit: to('returned', 'send-returned'),
    'commit-unlocked': to('returned', 'send-returned'),
    abort: to('returned', 'send-returned'),
  },
}

export function destinationStep(state: DestinationState, input: DestinationInput): DestinationStep {
  return destinationTable[state][input] ?? { state, actions: [] }
}
