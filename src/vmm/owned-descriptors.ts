import type { VmConfig } from '../config/vm-config.ts'

/** Descriptors of one card, which whoever takes them is to close. */
export interface HandedDescriptors {
  readonly fds: readonly number[]
  /** Once. */
  close(): void
}

/** Descriptors that were handed over with cards of a configuration: kept as long as it names them, for every boot. */
export class OwnedDescriptors {
  readonly #owned = new Set<HandedDescriptors>()

  /**
   * Carries out what makes the configuration name them. They are closed where that fails, and those that `configOf` does not name
   * afterwards.
   */
  async with<T>(
    handed: readonly HandedDescriptors[],
    action: () => Promise<T>,
    configOf: () => VmConfig | undefined,
  ): Promise<T> {
    try {
      const result = await action()
      for (const each of handed) this.#owned.add(each)
      this.keepFor(configOf())
      return result
    } catch (error) {
      for (const each of handed) each.close()
      throw error
    }
  }

  /** They are closed once a configuration does not name them. */
  own(handed: HandedDescriptors): void {
    this.#owned.add(handed)
  }

  /** Closes those that it does not name. */
  keepFor(config: VmConfig | undefined): void {
    const named = new Set(config?.net.flatMap(({ fds }) => fds ?? []))
    for (const each of this.#owned) {
      if (each.fds.some(fd => named.has(fd))) continue
      this.#owned.delete(each)
      each.close()
    }
  }
}
