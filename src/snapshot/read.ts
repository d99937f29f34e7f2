import { join } from 'node:path'
import { parseExactly } from '../config/json.ts'
import type { ComponentRecord } from '../state/walk.ts'
import { judged, openListed, readListed } from './files.ts'
import { SnapshotLayers } from './layers.ts'
import { type Manifest, snapshotFiles } from './manifest.ts'
import { readPrefetch } from './prefetch.ts'
import { decodeRecords } from './state-file.ts'

/** A snapshot that was read in and found whole, but for the pages of memory, which carry checksums of their own. */
export interface OpenSnapshot extends AsyncDisposable {
  readonly path: string
  readonly manifest: Manifest
  /** As it was written: to be checked as any configuration. */
  readonly config: unknown
  readonly records: readonly ComponentRecord[]
  /** What a machine restored on demand will likely touch first, in that order. */
  readonly prefetch: Uint32Array | undefined
  /** The files that have its disks as they were, by the id of the device. */
  readonly disks: ReadonlyMap<string, string>
  readonly layers: SnapshotLayers
}

/** Reads a snapshot for a machine of this host. Throws ERR_SNAPSHOT naming the file that is missing, cut or changed. */
export async function openSnapshot(directory: string): Promise<OpenSnapshot> {
  const layers = await SnapshotLayers.open(directory)
  try {
    const { path, manifest } = layers.newest
    const config = await readListed(path, manifest, snapshotFiles.config)
    const state = await readListed(path, manifest, snapshotFiles.state)
    return {
      path,
      manifest,
      config: judged(path, snapshotFiles.config, () => parseExactly(config.toString())),
      records: judged(path, snapshotFiles.state, () => decodeRecords(state)),
      prefetch: await readPrefetch(layers.newest),
      disks: await disksIn(path, manifest),
      layers,
      [Symbol.asyncDispose]: () => layers[Symbol.asyncDispose](),
    }
  } catch (error) {
    await layers[Symbol.asyncDispose]()
    throw error
  }
}

async function disksIn(path: string, manifest: Manifest): Promise<ReadonlyMap<string, string>> {
  const disks = new Map<string, string>()
  for (const { id, file } of manifest.disks ?? []) {
    await using _file = await openListed(path, manifest, file)
    disks.set(id, join(path, file))
  }
  return disks
}
