import { stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { describeCpu } from '../machine/cpu-fingerprint.ts'
import { stateSchemas } from '../machine/state-schemas.ts'
import { verifyRamImage } from '../memory/ram-image.native.ts'
import { ramBytesOf } from '../memory/ram-image.ts'
import { snapshotError } from './error.ts'
import { readManifest } from './layers.ts'
import { type Manifest, snapshotFiles } from './manifest.ts'
import { openSnapshot } from './read.ts'

/** What a snapshot holds, without a look at whether it is whole. */
export interface SnapshotReport {
  readonly path: string
  readonly manifest: Manifest
  /** For people: its CPU in a line, and the features that another host must have. */
  readonly cpu: { readonly line: string; readonly features: readonly string[] }
  /** Of RAM. */
  readonly memoryBytes: number
  /** What the files take on their disk: less than their length where they have holes. Missing ones take nothing. */
  readonly bytesOnDisk: Readonly<Record<string, number>>
}

/** Throws ERR_SNAPSHOT where there is no manifest, or one of a format unknown here. */
export async function inspectSnapshot(path: string): Promise<SnapshotReport> {
  const directory = resolve(path)
  const manifest = await readManifest(directory)
  const bytesOnDisk: Record<string, number> = {}
  for (const name of [snapshotFiles.manifest, ...Object.keys(manifest.files)]) {
    const status = await stat(join(directory, name)).catch(() => undefined)
    // st_blocks counts in 512 bytes, whatever the file system.
    bytesOnDisk[name] = (status?.blocks ?? 0) * 512
  }
  const memoryBytes = ramBytesOf(manifest.memory.ranges)
  return { path: directory, manifest, cpu: describeCpu(manifest.cpu), memoryBytes, bytesOnDisk }
}

/**
 * Reads all of a snapshot: the digests of its files, the checksum of every page, the shape of every record. Throws
 * ERR_SNAPSHOT, ERR_MEMORY_IMAGE or ERR_STATE_INVALID naming what is wrong with it.
 */
export async function verifySnapshot(path: string): Promise<void> {
  await using snapshot = await openSnapshot(path)
  for (const record of snapshot.records) {
    const schema = stateSchemas.find(({ id }) => id === record.id)
    if (schema === undefined) {
      throw snapshotError(
        snapshot.path,
        snapshotFiles.state,
        `${record.component}: there is no state ${record.id} here`,
      )
    }
    schema.decode(record)
  }
  await verifyRamImage(snapshot.layers.all)
}
