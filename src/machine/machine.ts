import type { Component, DeviceDescription } from '../state/component.ts'
import { TsvmmError } from '../util/errors.ts'
import type { ComponentDescriptors } from './handover.native.ts'

/**
 * The ordered list of components. Whoever saves, moves, reboots or closes a machine walks this list and nothing else:
 * forwards to resume and reset, backwards to pause and close, so that what was built on something is stopped before it.
 * Components may go while it is walked: each that was there is paused or closed, those that are gone by then once more.
 */
export class Machine implements AsyncDisposable {
  readonly #components: Component[] = []
  readonly #names = new Set<string>()

  get components(): readonly Component[] {
    return this.#components
  }

  /**
   * Appends, or puts it before one that is there; the machine owns the component from now on. Throws ERR_CONFIG_INVALID where
   * the name is taken.
   */
  add<C extends Component>(component: C, before?: Component): C {
    if (this.#names.has(component.name)) {
      throw new TsvmmError('ERR_CONFIG_INVALID', { option: component.name, reason: 'two components of this name' })
    }
    this.#names.add(component.name)
    const place = before === undefined ? this.#components.length : this.#components.indexOf(before)
    this.#components.splice(place, 0, component)
    return component
  }

  /** Takes a component off the list, which is the caller's to close then. */
  remove(component: Component): void {
    const place = this.#components.indexOf(component)
    if (place < 0) return
    this.#components.splice(place, 1)
    this.#names.delete(component.name)
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

  /** All that only one machine may have, or nothing of it. */
  async claim(): Promise<void> {
    try {
      for (const component of this.#components) component.claim?.()
    } catch (error) {
      await this.cede()
      throw error
    }
  }

  /** Gives away what only one machine may have; as of a component's. */
  async cede(isHandedOver = false): Promise<void> {
    await Promise.all(this.#components.map(component => component.cede?.(isHandedOver)))
  }

  /** What another process of this host takes the components over by, of those that have such a thing. Throws ERR_MIGRATION. */
  handover(): readonly ComponentDescriptors[] {
    return this.#components.flatMap(component => {
      const fds = component.handover?.() ?? []
      return fds.length === 0 ? [] : [{ component: component.name, fds }]
    })
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
