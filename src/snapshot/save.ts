import { portable } from '../config/settle.ts'
import type { VmConfig } from '../config/vm-config.ts'
import type { CpuFingerprint } from '../machine/cpu-fingerprint.ts'
import { union } from '../memory/page-bitmap.ts'
import type { Carrier } from '../state/carried.ts'
import { captureAll, refusePinned } from '../state/walk.ts'
import { snapshotError } from './error.ts'
import { haveSameRanges, SnapshotLayers } from './layers.ts'
import type { Lineage } from './lineage.ts'
import { type LiveReport, writeWhileRunning } from './live.ts'
import type { Manifest } from './manifest.ts'
import { type SnapshotProgress, watch } from './progress.ts'
import { type SnapshotOptions, SnapshotWriter, type WritableRam } from './write.ts'

/** A machine to be saved. */
export interface SnapshotSource {
  readonly components: readonly Carrier[]
  readonly ram: WritableRam
  readonly lineage: Lineage
  /** Told before the machine is paused. */
  readonly onLive?: (report: LiveReport) => void
  /** Told now and then how much of its memory is saved; of a machine that runs, of the round. */
  readonly onProgress?: (progress: SnapshotProgress) => void
  /** Only while it stands still. */
  describeConfig(): VmConfig
  describeCpu(): CpuFingerprint
  /** Runs `action` while the machine stands still; afterwards it goes on if it ran, whatever came of the action. */
  whilePaused<T>(action: () => Promise<T>): Promise<T>
}

/**
 * Saves a machine into a directory, which is there as a whole in the end or not at all. Throws ERR_STATE_PINNED and, where
 * the directory is in the way, ERR_SNAPSHOT before the machine is paused.
 */
export async function saveMachine(source: SnapshotSource, path: string, options: SnapshotOptions): Promise<Manifest> {
  const { components, ram, lineage } = source
  refusePinned(components)
  await using base = options.parent === undefined ? undefined : await openBase(options.parent, ram)
  const isShown = base !== undefined && lineage.shown !== undefined && base.includes(lineage.shown)
  await using writer = await SnapshotWriter.begin(path, ram, options, base && { layers: base, isShown })
  using _watch = source.onProgress && watch(writer, source.onProgress)
  const parent = base?.newest.manifest.id
  // A mapped base tells by itself what was written since.
  const isTracked = base !== undefined && !isShown
  try {
    const live =
      options.live === true ? await begin(source, writer, lineage.take(parent), options.pauseLimit) : undefined
    const { config, cpu, encode, written } = await source.whilePaused(async () => {
      const state = { config: source.describeConfig(), cpu: source.describeCpu(), encode: captureAll(components) }
      const pages = live === undefined ? lineage.take(parent) : union(live.left, lineage.pages())
      const writing = live?.isFrozen === true ? writer.freezeRam(pages) : writer.writeRam(pages)
      if (live?.isFrozen !== true) await writing
      if (isTracked) lineage.tryToTrack()
      if (options.disks === 'copy') await copyDisks(writer, state.config)
      return { ...state, written: writing }
    })
    await written
    const manifest = await writer.finish(portable(config), cpu, encode())
    if (isTracked) lineage.continueFrom(manifest.id)
    else lineage.forget()
    return manifest
  } catch (error) {
    lineage.forget()
    throw error
  }
}

/** Those that it writes to. */
async function copyDisks(writer: SnapshotWriter, { disks }: VmConfig): Promise<void> {
  for (const disk of disks) if (!disk.readonly) await writer.copyDisk(disk.id ?? '', disk)
}

/**
 * What is saved while the machine runs, and how the rest is to be. Rounds come first: freezing makes the guest wait at nearly
 * every page that it writes, and is worth that only for what a pause would take longer for.
 */
async function begin(
  source: SnapshotSource,
  writer: SnapshotWriter,
  first: Uint8Array | undefined,
  pauseLimit: number | undefined,
): Promise<{ left: Uint8Array; isFrozen: boolean }> {
  const { rounds, left, areFew } = await writeWhileRunning(writer, source.lineage, first, pauseLimit)
  const reason = areFew ? undefined : writer.prepareFreeze()
  const isFrozen = !areFew && reason === undefined
  source.onLive?.({ rounds, rest: isFrozen ? 'frozen' : 'paused', ...(reason !== undefined && { reason }) })
  return { left, isFrozen }
}

/** The snapshot that the new one is to stand on. Throws ERR_SNAPSHOT. */
async function openBase(path: string, ram: WritableRam): Promise<SnapshotLayers> {
  const base = await SnapshotLayers.open(path)
  const { path: directory, manifest } = base.newest
  if (haveSameRanges(manifest.memory.ranges, ram.ranges)) return base
  await base[Symbol.asyncDispose]()
  throw snapshotError(directory, '', 'its memory is not that of this machine: nothing can stand on it')
}
