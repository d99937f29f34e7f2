import type { StateSchema } from './schema.ts'

/** A part of a machine whose state is plain data, saved and loaded at once and without I/O. */
export interface Snapshottable<S> {
  readonly schema: StateSchema<S>
  save(): S
  /** Takes what `save` gave, from whatever machine. The part is paused. */
  load(state: S): void
  /**
   * Whether a machine without this part is the same to the guest: a release that has no such part yet may leave the record out.
   * Never where absent.
   */
  isDispensable?(state: S): boolean
}

/** What travels with a component: said out loud, there is no default. */
export type Carried =
  | { readonly kind: 'saved'; readonly part: Snapshottable<unknown> }
  | { readonly kind: 'stateless' }
  /** It cannot travel now, for this reason. */
  | { readonly kind: 'pinned'; readonly reason: string }

/** Of what has nothing to remember, or nothing that the rest does not remember. */
export const stateless: Carried = { kind: 'stateless' }

/** What `part` saves travels. */
export function saved<S>(part: Snapshottable<S>): Carried {
  return { kind: 'saved', part }
}

/** A component by the name of its record, derived from the configuration and the same in every release. */
export interface Carrier {
  readonly name: string
  readonly state: Carried
}
