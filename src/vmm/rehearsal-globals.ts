/** What is in a context only once it was made from a snapshot: V8 adds its newer globals then. */
const missing = ['DisposableStack', 'AsyncDisposableStack'] as const

/** Until it is disposed of, there is something in their places that is good enough for a rehearsal. */
export function standInGlobals(): Disposable {
  const absent = missing.filter(name => !(name in globalThis))
  for (const name of absent) Reflect.set(globalThis, name, StandInStack)
  return {
    [Symbol.dispose]: () => {
      for (const name of absent) Reflect.deleteProperty(globalThis, name)
    },
  }
}

class StandInStack {
  #actions: (() => unknown)[] = []

  use(resource: Partial<Disposable & AsyncDisposable>): unknown {
    this.defer(() => (resource[Symbol.asyncDispose] ?? resource[Symbol.dispose])?.call(resource))
    return resource
  }

  adopt(resource: unknown, dispose: (resource: unknown) => unknown): unknown {
    this.defer(() => dispose(resource))
    return resource
  }

  defer(action: () => unknown): void {
    this.#actions.push(action)
  }

  move(): StandInStack {
    const moved = new StandInStack()
    moved.#actions = this.#actions
    this.#actions = []
    return moved
  }

  [Symbol.dispose](): void {
    for (const action of this.move().#actions.toReversed()) action()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const action of this.move().#actions.toReversed()) await action()
  }
}
