import { withAbsolutePaths } from '../config/settle.ts'
import type { VmConfig } from '../config/vm-config.ts'
import type { MachineRam } from '../machine/build.ts'
import type { CpuFingerprint } from '../machine/cpu-fingerprint.ts'
import type { Carrier } from '../state/carried.ts'
import { captureAll, refusePinned } from '../state/walk.ts'
import { snapshotError } from './error.ts'
import { haveSameRanges, SnapshotLayers } from './layers.ts'
import type { Lineage } from './lineage.ts'
import { union, writeWhileRunning } from './live.ts'
import type { Manifest } from './manifest.ts'
import { type SnapshotOptions, SnapshotWriter } from './write.ts'

/** A machine to be saved. */
export interface SnapshotSource {
  readonly config: VmConfig
  readonly components: readonly Carrier[]
  readonly ram: MachineRam
  readonly lineage: Lineage
  /** Only while it stands still. */
  describeCpu(): CpuFingerprint
  /** Runs `action` while the machine stands still; afterwards it goes on if it ran, whatever came of the action. */
  whilePaused<T>(action: () => Promise<T>): Promise<T>
}

/**
 * Saves a machine into a directory, which is there as a whole in the end or not at all. Throws ERR_STATE_PINNED and, where
 * the directory is in the way, ERR_SNAPSHOT before the machine is paused.
 */
export async function saveMachine(source: SnapshotSource, path: string, options: SnapshotOptions): Promise<Manifest> {
  const { config, components, ram, lineage } = source
  refusePinned(components)
  await using base = options.parent === undefined ? undefined : await openBase(options.parent, ram)
  const isShown = base !== undefined && lineage.shown !== undefined && base.includes(lineage.shown)
  await using writer = await SnapshotWriter.begin(path, ram, options, base && { layers: base, isShown })
  const parent = base?.newest.manifest.id
  // A mapped base tells by itself what was written since.
  const isTracked = base !== undefined && !isShown
  try {
    const left = options.live === true ? await writeWhileRunning(writer, lineage, lineage.take(parent)) : undefined
    const { cpu, encode } = await source.whilePaused(async () => {
      const state = { cpu: source.describeCpu(), encode: captureAll(components) }
      await writer.writeRam(left === undefined ? lineage.take(parent) : union(left, lineage.pages()))
      if (isTracked) lineage.tryToTrack()
      return state
    })
    const manifest = await writer.finish(withAbsolutePaths(config), cpu, encode())
    if (isTracked) lineage.continueFrom(manifest.id)
    else lineage.forget()
    return manifest
  } catch (error) {
    lineage.forget()
    throw error
  }
}

/** The snapshot that the new one is to stand on. Throws ERR_SNAPSHOT. */
async function openBase(path: string, ram: MachineRam): Promise<SnapshotLayers> {
  const base = await SnapshotLayers.open(path)
  const { path: directory, manifest } = base.newest
  if (haveSameRanges(manifest.memory.ranges, ram.ranges)) return base
  await base[Symbol.asyncDispose]()
  throw snapshotError(directory, '', 'its memory is not that of this machine: nothing can stand on it')
}
