import { Packr, Unpackr } from 'msgpackr'
import * as z from 'zod/mini'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { printable, reasonOfIssue, seldomChecked } from '../util/issues.ts'
import { differencesOf } from './differences.ts'
import { describeShape, type ShapeDescription } from './shapes.ts'

/** What a state must look like, down to the range of each number: a record may come from anybody. */
export type Shape<S> = z.core.$ZodType<S>

/** A state as it is stored or sent: which schema, at which of its versions, and the MessagePack of it. */
export interface StateRecord {
  /** Of the schema: `serial-16550`. */
  readonly id: string
  /** Counted from 1. */
  readonly version: number
  readonly body: Uint8Array
}

/** From a version to the next and, where an older release is still served, back; undefined where that one cannot say it. */
export interface Step<Old, New> {
  up(old: Old): New
  down?(now: New): Old | undefined
}

/**
 * One persisted shape, its newest version and the ladder from every older one. A shape that was released is never edited: a
 * change is a `next`, whose step says what the absence of a new field means.
 */
export interface StateSchema<S> {
  /** Never renamed, never reused. */
  readonly id: string
  /** 1, and 1 more for every `next`. */
  readonly version: number
  /** The oldest version that states can be written at. */
  readonly oldestWritable: number
  /** Of every version, the first one first. */
  readonly shapes: readonly ShapeDescription[]
  next<N>(shape: Shape<N>, step: Step<S, N>): StateSchema<N>
  /**
   * The same bytes for the same state, at `version`, the newest where absent. Throws ERR_STATE_INVALID where the state has not
   * the shape, or nothing leads down to that version.
   */
  encode(state: S, version?: number): StateRecord
  /**
   * At the oldest version that says all of the state: a release that knows no newer one can read it, as long as nothing is in use
   * that came later. Throws ERR_STATE_INVALID where the state has not the shape.
   */
  encodeForOldest(state: S): StateRecord
  /** Checks the record at its own version, then climbs. Throws ERR_STATE_INVALID naming schema, versions and field. */
  decode(record: StateRecord): S
}

/** What a schema's states are. */
export type StateOf<Schema> = Schema extends StateSchema<infer S> ? S : never

/** A device has kilobytes of state; what is larger (memory, disks) is no record. */
export const largestBodyBytes = 16 * 1024 * 1024

// Plain MessagePack: keys are written out, so that a record is read without those before it.
const packr = new Packr({ useRecords: false, variableMapSize: true })
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, copyBuffers: true })

/** The first version of a state. */
export function defineState<S>(id: string, shape: Shape<S>): StateSchema<S> {
  return new Ladder({ id, version: 1, shape, older: undefined })
}

/** The versions below one, with their own shapes out of sight. */
interface Older<S> {
  /** Nothing where none can be written. */
  readonly oldestWritable: number | undefined
  readonly shapes: readonly ShapeDescription[]
  encode(state: S, version: number): StateRecord
  /** Undefined where it cannot say all of it. */
  encodeForOldest(state: S): StateRecord | undefined
  decode(record: StateRecord): S
}

class Ladder<S> implements StateSchema<S> {
  readonly id: string
  readonly version: number
  readonly #shape: Shape<S>
  readonly #older: Older<S> | undefined

  constructor(options: { id: string; version: number; shape: Shape<S>; older: Older<S> | undefined }) {
    this.id = options.id
    this.version = options.version
    this.#shape = options.shape
    this.#older = options.older
  }

  get oldestWritable(): number {
    return this.#older?.oldestWritable ?? this.version
  }

  get shapes(): readonly ShapeDescription[] {
    return [...(this.#older?.shapes ?? []), describeShape(this.#shape)]
  }

  next<N>(shape: Shape<N>, { up, down }: Step<S, N>): StateSchema<N> {
    const version = this.version + 1
    const shapes = () => this.shapes
    const older: Older<N> = {
      oldestWritable: down === undefined ? undefined : this.oldestWritable,
      get shapes() {
        return shapes()
      },
      decode: record => up(this.decode(record)),
      encode: (state, wanted) => {
        const less = down?.(state)
        if (less === undefined) throw this.#error(`version ${version} cannot be written as version ${wanted}`)
        return this.encode(less, wanted)
      },
      encodeForOldest: state => {
        const less = down?.(state)
        if (less === undefined || differencesOf(up(less), state).length > 0) return undefined
        return this.encodeForOldest(less)
      },
    }
    return new Ladder({ id: this.id, version, shape, older })
  }

  encode(state: S, version = this.version): StateRecord {
    if (version !== this.version) {
      if (this.#older === undefined || version > this.version) throw this.#error(`there is no version ${version}`)
      return this.#older.encode(state, version)
    }
    // Checking puts the fields into the order of the shape, whatever order they were set in.
    return { id: this.id, version, body: Uint8Array.from(packr.pack(this.#check(state))) }
  }

  encodeForOldest(state: S): StateRecord {
    return this.#older?.encodeForOldest(this.#check(state)) ?? this.encode(state)
  }

  decode(record: StateRecord): S {
    const { id, version, body } = record
    if (id !== this.id) throw this.#error(`this is the state of ${id}`)
    if (!Number.isSafeInteger(version) || version < 1) throw this.#error(`there is no version ${version}`)
    if (version > this.version) {
      throw this.#error(`version ${version} is newer than ${this.version}, the newest that is known here`)
    }
    if (version === this.version) return this.#check(this.#unpack(body))
    if (this.#older === undefined) throw this.#error(`there is no version ${version}`)
    return this.#older.decode(record)
  }

  #unpack(body: Uint8Array): unknown {
    if (body.length > largestBodyBytes) {
      throw this.#error(`version ${this.version}: ${body.length} bytes are more than any state has`)
    }
    try {
      // A view of our own: msgpackr leaves a property on what it reads from.
      return unpackr.unpack(new Uint8Array(body.buffer, body.byteOffset, body.length))
    } catch (cause) {
      throw this.#error(`version ${this.version} cannot be read: ${reasonOf(cause)}`, { cause })
    }
  }

  #check(value: unknown): S {
    const result = z.safeParse(this.#shape, value, seldomChecked)
    if (result.success) return result.data
    const [issue] = result.error.issues
    if (issue === undefined) throw this.#error(`version ${this.version} is not valid`)
    const field = issue.path.length === 0 ? '' : `${issue.path.map(part => printable(String(part))).join('.')}: `
    throw this.#error(`version ${this.version}: ${field}${reasonOfIssue(issue)}`)
  }

  #error(reason: string, options?: ErrorOptions): TsvmmError {
    return new TsvmmError('ERR_STATE_INVALID', { component: this.id, reason }, options)
  }
}
