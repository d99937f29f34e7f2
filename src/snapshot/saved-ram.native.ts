import { availableParallelism } from 'node:os'
import { MappedMemory } from '../memory/mapped.native.ts'
import { ramFromLayers, verifyRamImage } from '../memory/ram-image.native.ts'
import type { SnapshotLayers } from './layers.ts'

/** RAM as it is mapped to be read; nobody runs in it. */
const options = {
  ...{ shared: false, hugePageBytes: 0, mergeable: false, prefault: false, thp: false, reserve: false },
}

/**
 * What a snapshot and those that it stands on have as the memory of a machine, all of it checked. Images are mapped, what is
 * compressed is read in. The caller closes it. Throws what verifyRamImage throws.
 */
export async function savedRam(layers: SnapshotLayers): Promise<MappedMemory> {
  await verifyRamImage(layers.all)
  const isMappable = layers.all.every(({ manifest }) => manifest.memory.form === 'image')
  const source = ramFromLayers(layers.all, isMappable ? 'cow' : 'copy', availableParallelism())
  const memory = new MappedMemory()
  try {
    let offset = 0
    for (const { guestAddress, sizeBytes } of layers.newest.manifest.memory.ranges) {
      const at = offset
      memory.map(guestAddress, sizeBytes, options, () => source.mappingOf?.(at, sizeBytes, options))
      offset += sizeBytes
    }
    await source.fill?.(memory)
    return memory
  } catch (error) {
    memory.close()
    throw error
  }
}
