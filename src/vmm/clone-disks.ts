import { rename, rm } from 'node:fs/promises'
import { copyDiskOf } from '../snapshot/disk-copy.ts'
import type { PlannedClone } from './clone-plan.ts'
import { type CopyPlace, pathOfCopy } from './copy-place.ts'
import type { DiskToCopy } from './disk-plan.ts'
import type { Overrides } from './overrides.ts'

/** A clone, or the one machine that is restored, which has no number. */
type CopiedMachine = Pick<PlannedClone, 'overrides' | 'copies'> & Partial<Pick<PlannedClone, 'number'>>

/** The disks of clones: copies of those of the machine that they come from. */
export class CloneDisks implements AsyncDisposable {
  readonly #place: CopyPlace
  readonly #signal: AbortSignal | undefined
  /** The copies of one instant that all others are made of, by the path of the disk. */
  readonly #frozen = new Map<string, string>()
  /** Copies of clones that are there, which stay when all of them are. */
  readonly #made: string[] = []

  constructor(place: CopyPlace, signal?: AbortSignal) {
    this.#place = place
    this.#signal = signal
  }

  /** Copies each disk once, while the machine stands still: the clones' are made of that, when it may run again. */
  async freeze(clones: readonly PlannedClone[]): Promise<void> {
    for (const disk of clones.flatMap(({ copies }) => copies)) {
      if (this.#frozen.has(disk.path)) continue
      const path = await pathOfCopy(this.#place, disk, 'frozen')
      await copyDiskOf({ ...disk, path: disk.from }, path, this.#signal)
      this.#frozen.set(disk.path, path)
    }
  }

  /** All clones are there. */
  keep(): void {
    this.#made.length = 0
  }

  /** Makes a machine with the clone's copies. Those that are kept nowhere have no name any more when it is there. */
  async with<T>(clone: CopiedMachine, isLast: boolean, make: (overrides: Overrides) => Promise<T>): Promise<T> {
    const paths: string[] = []
    let isKept = false
    try {
      const disks: NonNullable<Overrides['disks']> = { ...clone.overrides.disks }
      for (const disk of clone.copies) {
        const path = await pathOfCopy(this.#place, disk, clone.number)
        await this.#copy(disk, path, isLast)
        paths.push(path)
        disks[disk.id] = { ...disks[disk.id], path }
      }
      const made = await make({ ...clone.overrides, disks })
      isKept = this.#place !== 'beside'
      if (isKept) this.#made.push(...paths)
      return made
    } finally {
      if (!isKept) for (const path of paths) await rm(path, { force: true })
    }
  }

  async #copy(disk: DiskToCopy, path: string, isLast: boolean): Promise<void> {
    const frozen = this.#frozen.get(disk.path)
    if (frozen === undefined || !isLast) {
      return await copyDiskOf({ ...disk, path: frozen ?? disk.from }, path, this.#signal)
    }
    await rename(frozen, path)
    this.#frozen.delete(disk.path)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const path of [...this.#frozen.values(), ...this.#made]) await rm(path, { force: true })
    this.#frozen.clear()
  }
}
