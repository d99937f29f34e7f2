import { withAbsolutePaths } from '../config/settle.ts'
import type { VmConfig } from '../config/vm-config.ts'
import type { MachineRam } from '../machine/build.ts'
import type { Carrier } from '../state/carried.ts'
import { captureAll, refusePinned } from '../state/walk.ts'
import type { Manifest } from './manifest.ts'
import { type SnapshotOptions, SnapshotWriter } from './write.ts'

/** A machine to be saved. */
export interface SnapshotSource {
  readonly config: VmConfig
  readonly components: readonly Carrier[]
  readonly ram: MachineRam
  /** Runs `action` while the machine stands still; afterwards it goes on if it ran, whatever came of the action. */
  whilePaused<T>(action: () => Promise<T>): Promise<T>
}

/**
 * Saves a machine into a directory, which is there as a whole in the end or not at all. Throws ERR_STATE_PINNED and, where
 * the directory is in the way, ERR_SNAPSHOT before the machine is paused.
 */
export async function saveMachine(source: SnapshotSource, path: string, options: SnapshotOptions): Promise<Manifest> {
  const { config, components, ram } = source
  refusePinned(components)
  await using writer = await SnapshotWriter.begin(path, ram, options)
  const encode = await source.whilePaused(async () => {
    const state = captureAll(components)
    await writer.writeRam()
    return state
  })
  return await writer.finish(withAbsolutePaths(config), encode())
}
