import { parseVmConfig } from '../config/vm-config.ts'
import { createRamImageWriter } from '../memory/ram-image.native.ts'
import { SnapshotDirectory } from './directory.ts'
import type { Manifest } from './manifest.ts'
import { readPrefetch } from './prefetch.ts'
import { type SnapshotProgress, watch } from './progress.ts'
import { openSnapshot } from './read.ts'
import { savedRam } from './saved-ram.native.ts'
import { type SnapshotOptions, SnapshotWriter } from './write.ts'

/**
 * Makes of a snapshot that stands on others one that stands on nothing, with a name of its own. All of it is checked. Throws
 * what verifySnapshot throws, and ERR_SNAPSHOT where it cannot be written.
 */
export async function mergeSnapshot(
  path: string,
  into: string,
  how: Omit<SnapshotOptions, 'parent' | 'live' | 'disks'>,
  onProgress: (progress: SnapshotProgress) => void = () => {},
): Promise<Manifest> {
  const { durability = 'data', overwrite = false } = how
  await SnapshotDirectory.check(into, { durability, overwrite })
  await using snapshot = await openSnapshot(path)
  const prefetch = await readPrefetch(snapshot.layers.newest)
  const memory = await savedRam(snapshot.layers)
  try {
    const ram = {
      ranges: memory.ranges,
      touchedPages: () => prefetch,
      createImageWriter: (writerOptions: Parameters<typeof createRamImageWriter>[1]) =>
        createRamImageWriter(memory, writerOptions),
    }
    await using writer = await SnapshotWriter.begin(into, ram, how)
    using _watch = watch(writer, onProgress)
    await writer.writeRam()
    for (const [id, file] of snapshot.disks) await writer.copyDisk(id, { path: file, backing_files: false })
    return await writer.finish(parseVmConfig(snapshot.config), snapshot.manifest.cpu, snapshot.records)
  } finally {
    memory.close()
  }
}
