import { availableParallelism } from 'node:os'
import { addon, type NativeMapping } from '../native/addon.ts'
import type { NativeMemoryImage } from '../native/memory-image.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import type { MappedMemory, MappedRamOptions } from './mapped.native.ts'
import {
  imagePageBytes,
  type RamImageLayer,
  type RamImageWriter,
  type RamImageWriterOptions,
  type RamRestoreMode,
} from './ram-image.ts'

/** A writer for the RAM of a machine, which stays mapped for it. Throws ERR_MEMORY_IMAGE for a base that is no image. */
export function createRamImageWriter(memory: MappedMemory, options: RamImageWriterOptions): RamImageWriter {
  const { base, ...own } = options
  if (base === undefined) return new (addon().MemoryImageWriter)({ memory: memory.native, ...own })
  const image = openRamImage(base.layers)
  try {
    return new (addon().MemoryImageWriter)({ memory: memory.native, ...own, base: image, baseIsShown: base.isShown })
  } finally {
    image.close()
  }
}

/** More than these wait for the disk. */
const mostThreads = 8

/** Where the RAM of a machine comes from, other than from nothing. */
export interface RamSource {
  /** What a range begins as; where absent, it is filled. `offsetBytes` counts in image space. */
  mappingOf?(offsetBytes: number, sizeBytes: number, options: MappedRamOptions): NativeMapping
  /** Called once all ranges are there and still zero. */
  fill?(memory: MappedMemory): Promise<void>
  /** As of a RamPager. */
  touchedPages?(): Uint32Array | undefined
  /** All of it is there from now on, and comes from nowhere else. Throws ERR_MEMORY where it goes on to. */
  complete?(): Promise<void>
}

/** RAM from the layers of a snapshot, newest first; their files may be closed once the machine is built. */
export function ramFromLayers(
  layers: readonly RamImageLayer[],
  mode: Exclude<RamRestoreMode, 'ondemand'>,
  threads: number,
): RamSource {
  const image = openRamImage(layers)
  if (mode === 'copy') {
    return {
      fill: async memory => {
        try {
          await image.load(memory.native, threads)
        } catch (cause) {
          throw new TsvmmError('ERR_MEMORY_IMAGE', { reason: reasonOf(cause) }, { cause })
        } finally {
          image.close()
        }
      },
    }
  }
  return {
    mappingOf: (offsetBytes, sizeBytes, { mergeable, thp, prefault }) =>
      image.map(offsetBytes / imagePageBytes, sizeBytes / imagePageBytes, { mergeable, thp, prefault }),
    fill: async () => image.close(),
  }
}

/** Throws ERR_MEMORY_IMAGE naming what is wrong. */
export function openRamImage(layers: readonly RamImageLayer[]): NativeMemoryImage {
  try {
    return new (addon().MemoryImage)(layers)
  } catch (cause) {
    throw new TsvmmError('ERR_MEMORY_IMAGE', { reason: reasonOf(cause) }, { cause })
  }
}

/** Reads all of the layers. Throws ERR_MEMORY_IMAGE naming layer and page that are not what was written. */
export async function verifyRamImage(
  layers: readonly RamImageLayer[],
  threads = availableParallelism(),
): Promise<void> {
  const image = openRamImage(layers)
  try {
    await image.verify(Math.min(mostThreads, threads))
  } catch (cause) {
    throw new TsvmmError('ERR_MEMORY_IMAGE', { reason: reasonOf(cause) }, { cause })
  } finally {
    image.close()
  }
}
