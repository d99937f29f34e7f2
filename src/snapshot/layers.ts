import type { FileHandle } from 'node:fs/promises'
import { resolve } from 'node:path'
import { imagePageBytes, type RamImageLayer, ramBytesOf } from '../memory/ram-image.ts'
import { own } from '../util/own.ts'
import { snapshotError } from './error.ts'
import { judged, openListed, readBounded, readListed } from './files.ts'
import { hostArchitecture, type Manifest, parseManifest, snapshotFiles } from './manifest.ts'

/** A manifest names a few thousand components at most. */
const largestManifestBytes = 16 * 1024 * 1024
/** Each keeps a file open, and what is deeper is better merged. */
const mostLayers = 200

/** The memory of one snapshot: all of it, or what differs from the layer below. */
export interface SnapshotLayer extends RamImageLayer {
  readonly path: string
  readonly manifest: Manifest
}

/** A snapshot and those that it stands on, newest first; at least one. */
export class SnapshotLayers implements AsyncDisposable {
  readonly all: readonly SnapshotLayer[]
  readonly #files: readonly FileHandle[]

  private constructor(all: readonly SnapshotLayer[], files: readonly FileHandle[]) {
    this.all = all
    this.#files = files
  }

  /** Opens the memory of a snapshot of this host's architecture. Throws ERR_SNAPSHOT naming the file that is not right. */
  static async open(path: string): Promise<SnapshotLayers> {
    const all: SnapshotLayer[] = []
    const files: FileHandle[] = []
    try {
      const newest = await readManifest(path)
      let place: { path: string; manifest: Manifest } | undefined = { path: resolve(path), manifest: newest }
      while (place !== undefined) {
        if (all.length === mostLayers)
          throw snapshotError(resolve(path), '', `it stands on more than ${mostLayers} others`)
        const { layer, file } = await openLayer(place.path, place.manifest)
        files.push(file)
        all.push(layer)
        place = await parentOf(layer, newest)
      }
      return new SnapshotLayers(all, files)
    } catch (error) {
      await closeAll(files)
      throw error
    }
  }

  /** The snapshot that was named. */
  get newest(): SnapshotLayer {
    const [newest] = this.all
    if (newest === undefined) throw new RangeError('there is always one')
    return newest
  }

  includes(id: string): boolean {
    return this.all.some(({ manifest }) => manifest.id === id)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return closeAll(this.#files)
  }
}

/** Reads the manifest alone, of whatever machine. Throws ERR_SNAPSHOT. */
export async function readManifest(path: string): Promise<Manifest> {
  const directory = resolve(path)
  const bytes = await readBounded(directory, snapshotFiles.manifest, largestManifestBytes)
  return judged(directory, snapshotFiles.manifest, () => parseManifest(bytes))
}

async function openLayer(path: string, manifest: Manifest): Promise<{ layer: SnapshotLayer; file: FileHandle }> {
  const { architecture, memory } = manifest
  if (architecture !== hostArchitecture()) {
    throw snapshotError(path, '', `it is of an ${architecture} machine, and this host is ${hostArchitecture()}`)
  }
  const index = await readListed(path, manifest, snapshotFiles.index)
  judged(path, snapshotFiles[memory.form], () => checkImage(manifest))
  const file = await openListed(path, manifest, snapshotFiles[memory.form])
  return { layer: { path, manifest, fd: file.fd, index }, file }
}

async function parentOf({ path, manifest }: SnapshotLayer, newest: Manifest) {
  const { parent } = manifest
  if (parent === undefined) return undefined
  const parentPath = resolve(path, parent.path)
  const found = await readManifest(parentPath)
  if (found.id !== parent.id) {
    throw snapshotError(path, '', `${parentPath} is not the snapshot any more that this one stands on`)
  }
  if (!haveSameRanges(found.memory.ranges, newest.memory.ranges)) {
    throw snapshotError(path, '', `${parentPath}, which it stands on, has other memory`)
  }
  return { path: parentPath, manifest: found }
}

export function haveSameRanges(
  left: readonly { readonly guestAddress: number; readonly sizeBytes: number }[],
  right: readonly { readonly guestAddress: number; readonly sizeBytes: number }[],
): boolean {
  const isSame = ({ guestAddress, sizeBytes }: (typeof left)[number], index: number) =>
    right[index]?.guestAddress === guestAddress && right[index].sizeBytes === sizeBytes
  return left.length === right.length && left.every(isSame)
}

/** Pages of a mapped image are where the machine has them: beyond its end there would be none. */
function checkImage({ memory, files }: Manifest): void {
  const ramBytes = ramBytesOf(memory.ranges)
  if (ramBytes % imagePageBytes !== 0) throw new TypeError(`the machine has ${ramBytes} bytes of RAM, no whole pages`)
  const imageBytes = own(files, snapshotFiles.image)?.bytes
  if (memory.form === 'image' && imageBytes !== ramBytes) {
    throw new TypeError(`it has ${imageBytes} bytes, and the machine has ${ramBytes} bytes of RAM`)
  }
}

async function closeAll(files: readonly FileHandle[]): Promise<void> {
  for (const file of files) await file.close()
}
