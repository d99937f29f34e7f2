import { availableParallelism } from 'node:os'
import { parseVmConfig } from '../config/vm-config.ts'
import { MappedMemory } from '../memory/mapped.native.ts'
import { createRamImageWriter, ramFromLayers, verifyRamImage } from '../memory/ram-image.native.ts'
import type { Manifest } from './manifest.ts'
import { openSnapshot } from './read.ts'
import { type SnapshotOptions, SnapshotWriter } from './write.ts'

/** RAM as it is mapped to be written again; nobody runs in it. */
const options = {
  ...{ shared: false, hugePageBytes: 0, mergeable: false, prefault: false, thp: false, reserve: false },
}

/**
 * Makes of a snapshot that stands on others one that stands on nothing, with a name of its own. All of it is checked. Throws
 * what verifySnapshot throws, and ERR_SNAPSHOT where it cannot be written.
 */
export async function mergeSnapshot(
  path: string,
  into: string,
  how: Omit<SnapshotOptions, 'parent' | 'live'>,
): Promise<Manifest> {
  await using snapshot = await openSnapshot(path)
  const layers = snapshot.layers.all
  await verifyRamImage(layers)
  const isMappable = layers.every(({ manifest }) => manifest.memory.form === 'image')
  const source = ramFromLayers(layers, isMappable ? 'cow' : 'copy', availableParallelism())
  const memory = new MappedMemory()
  try {
    let offset = 0
    for (const { guestAddress, sizeBytes } of snapshot.manifest.memory.ranges) {
      const at = offset
      memory.map(guestAddress, sizeBytes, options, () => source.mappingOf?.(at, sizeBytes, options))
      offset += sizeBytes
    }
    await source.fill?.(memory)
    const ram = {
      ranges: memory.ranges,
      createImageWriter: (writerOptions: Parameters<typeof createRamImageWriter>[1]) =>
        createRamImageWriter(memory, writerOptions),
    }
    await using writer = await SnapshotWriter.begin(into, ram, how)
    await writer.writeRam()
    return await writer.finish(parseVmConfig(snapshot.config), snapshot.manifest.cpu, snapshot.records)
  } finally {
    memory.close()
  }
}
