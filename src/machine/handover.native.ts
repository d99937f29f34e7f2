import { addon } from '../native/addon.ts'
import { printable } from '../util/issues.ts'

/** Descriptors of a component that another process of this host takes it over by, in the component's own order. */
export interface ComponentDescriptors {
  readonly component: string
  readonly fds: readonly number[]
}

/** Descriptors that came from the process that a machine is taken over from. */
export class HandedOver {
  readonly #left: Map<string, readonly number[]>

  constructor(descriptors: readonly ComponentDescriptors[]) {
    this.#left = new Map()
    for (const { component, fds } of descriptors) {
      this.#left.set(component, [...(this.#left.get(component) ?? []), ...fds])
    }
  }

  /** Those of a component, the caller's to close from then on. Throws TypeError where it has not so many. */
  take(component: string, count?: number): readonly number[] | undefined {
    const fds = this.#left.get(component)
    if (fds !== undefined && fds.length !== (count ?? fds.length)) {
      throw new TypeError(`${printable(component)} is handed over with ${fds.length} descriptors, and has ${count}`)
    }
    this.#left.delete(component)
    return fds
  }

  /** As take(), to be kept: they are closed by `close`, once. */
  keep(component: string): { readonly fds: readonly number[]; close(): void } | undefined {
    const fds = this.take(component)
    if (fds === undefined) return undefined
    const left = [...fds]
    return {
      fds,
      close: () => {
        for (const fd of left.splice(0)) addon().closeDescriptor(fd)
      },
    }
  }

  /** Components whose descriptors nobody has taken. */
  get left(): readonly string[] {
    return [...this.#left.keys()]
  }

  /** Closes what nobody has taken. Idempotent. */
  close(): void {
    for (const fd of [...this.#left.values()].flat()) addon().closeDescriptor(fd)
    this.#left.clear()
  }
}
