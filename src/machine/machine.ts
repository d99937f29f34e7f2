import type { Component, DeviceDescription } from '../state/component.ts'
import { TsvmmError } from '../util/errors.ts'

/**
 * The ordered list of components. Whoever saves, moves, reboots or closes a machine walks this list and nothing else:
 * forwards to resume and reset, backwards to pause and close, so that what was built on something is stopped before it.
 */
export class Machine implements AsyncDisposable {
  readonly #components: Component[] = []
  readonly #names = new Set<string>()

  get components(): readonly Component[] {
    return this.#components
  }

  /** Appends; the machine owns the component from now on. Throws ERR_CONFIG_INVALID where the name is taken. */
  add<C extends Component>(component: C): C {
    if (this.#names.has(component.name)) {
      throw new TsvmmError('ERR_CONFIG_INVALID', { option: component.name, reason: 'two components of this name' })
    }
    this.#names.add(component.name)
    this.#components.push(component)
    return component
  }

  /** What clients can see of the components. */
  describe(): readonly DeviceDescription[] {
    return this.#components.flatMap(component => component.describe?.() ?? [])
  }

  async pause(): Promise<void> {
    for (const component of this.#components.toReversed()) await component.pause()
  }

  resume(): void {
    for (const component of this.#components) component.resume()
  }

  reset(): void {
    for (const component of this.#components) component.reset()
  }

  /** Closes all, whatever some of them throw; the first failure is thrown at the end. */
  async close(): Promise<void> {
    let failure: unknown
    for (const component of this.#components.toReversed()) {
      try {
        await component.close()
      } catch (error) {
        failure ??= error
      }
    }
    if (failure !== undefined) throw failure
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
