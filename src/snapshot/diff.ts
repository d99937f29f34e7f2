import { setImmediate as nextTurn } from 'node:timers/promises'
import { parseVmConfig } from '../config/vm-config.ts'
import { stateSchemas } from '../machine/state-schemas.ts'
import { imagePageBytes } from '../memory/ram-image.ts'
import { type Difference, differencesOf } from '../state/differences.ts'
import type { ComponentRecord } from '../state/walk.ts'
import { haveSameRanges, type SnapshotLayers } from './layers.ts'
import { openSnapshot } from './read.ts'
import { savedRam } from './saved-ram.native.ts'

/** In what two snapshots differ; what is alike in both is left out. */
export interface SnapshotDifferences {
  readonly config: readonly Difference[]
  readonly components: readonly ComponentDifferences[]
  /** Absent where they have it in other places. */
  readonly memory?: { readonly pages: number; readonly differingPages: number }
}

export interface ComponentDifferences {
  readonly name: string
  readonly onlyIn?: 'first' | 'second'
  readonly fields: readonly Difference[]
}

/**
 * Compares all of two snapshots: configurations, what components say by their newest schema, and memory page by page. Both are
 * checked as verifySnapshot does. Throws what it throws.
 */
export async function diffSnapshots(firstPath: string, secondPath: string): Promise<SnapshotDifferences> {
  await using first = await openSnapshot(firstPath)
  await using second = await openSnapshot(secondPath)
  const config = differencesOf(parseVmConfig(first.config), parseVmConfig(second.config))
  const components = componentsDiffer(first.records, second.records)
  const memory = await memoryDiffers(first.layers, second.layers)
  return { config, components, ...(memory === undefined ? {} : { memory }) }
}

function componentsDiffer(
  first: readonly ComponentRecord[],
  second: readonly ComponentRecord[],
): ComponentDifferences[] {
  const others = new Map(second.map(record => [record.component, record]))
  const differences = first.flatMap((record): ComponentDifferences[] => {
    const name = record.component
    const other = others.get(name)
    others.delete(name)
    if (other === undefined) return [{ name, onlyIn: 'first', fields: [] }]
    const fields = differencesOf(contentOf(record), contentOf(other))
    return fields.length === 0 ? [] : [{ name, fields }]
  })
  return [...differences, ...Array.from(others.keys(), name => ({ name, onlyIn: 'second' as const, fields: [] }))]
}

/** Of a schema that is not known here the bytes are all there is. */
function contentOf(record: ComponentRecord): unknown {
  const schema = stateSchemas.find(({ id }) => id === record.id)
  return schema === undefined
    ? { schema: record.id, version: record.version, body: record.body }
    : schema.decode(record)
}

/** Copied and compared at a time. */
const chunkBytes = 1024 * 1024

async function memoryDiffers(first: SnapshotLayers, second: SnapshotLayers): Promise<SnapshotDifferences['memory']> {
  const { ranges } = first.newest.manifest.memory
  if (!haveSameRanges(ranges, second.newest.manifest.memory.ranges)) return undefined
  const one = await savedRam(first)
  try {
    const other = await savedRam(second)
    try {
      let pages = 0
      let differingPages = 0
      for (const { guestAddress, sizeBytes } of ranges) {
        pages += sizeBytes / imagePageBytes
        for (let offset = 0; offset < sizeBytes; offset += chunkBytes) {
          const length = Math.min(chunkBytes, sizeBytes - offset)
          const address = guestAddress + offset
          differingPages += pagesThatDiffer(one.read(address, length), other.read(address, length))
          await nextTurn()
        }
      }
      return { pages, differingPages }
    } finally {
      other.close()
    }
  } finally {
    one.close()
  }
}

function pagesThatDiffer(one: Uint8Array, other: Uint8Array): number {
  if (Buffer.compare(one, other) === 0) return 0
  let pages = 0
  for (let offset = 0; offset < one.length; offset += imagePageBytes) {
    const page = (bytes: Uint8Array) => bytes.subarray(offset, offset + imagePageBytes)
    if (Buffer.compare(page(one), page(other)) !== 0) pages += 1
  }
  return pages
}
