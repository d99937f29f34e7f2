import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { parseExactly } from '../config/json.ts'
import { imagePageBytes, type RamImageLayer } from '../memory/ram-image.ts'
import type { ComponentRecord } from '../state/walk.ts'
import { own } from '../util/own.ts'
import { digestOf } from './directory.ts'
import { snapshotError } from './error.ts'
import { hostArchitecture, type Manifest, parseManifest, snapshotFiles } from './manifest.ts'
import { decodeRecords } from './state-file.ts'

/** A manifest names a few thousand components at most. */
const largestManifestBytes = 16 * 1024 * 1024
/** Of files that are read as a whole: index and state of the largest machines. */
const largestFileBytes = 4 * 1024 ** 3

/** A snapshot that was read in and found whole, but for the pages of memory, which carry checksums of their own. */
export interface OpenSnapshot extends AsyncDisposable {
  readonly path: string
  readonly manifest: Manifest
  /** As it was written: to be checked as any configuration. */
  readonly config: unknown
  readonly records: readonly ComponentRecord[]
  readonly memory: RamImageLayer
}

/** Reads the manifest alone, of whatever machine. Throws ERR_SNAPSHOT. */
export async function readManifest(path: string): Promise<Manifest> {
  const directory = resolve(path)
  const bytes = await readBounded(directory, snapshotFiles.manifest, largestManifestBytes)
  return judged(directory, snapshotFiles.manifest, () => parseManifest(bytes))
}

/** Reads a snapshot for a machine of this host. Throws ERR_SNAPSHOT naming the file that is missing, cut or changed. */
export async function openSnapshot(path: string): Promise<OpenSnapshot> {
  const directory = resolve(path)
  const manifest = await readManifest(directory)
  const { architecture, memory } = manifest
  if (architecture !== hostArchitecture()) {
    throw snapshotError(directory, '', `it is of an ${architecture} machine, and this host is ${hostArchitecture()}`)
  }
  const config = await readListed(directory, manifest, snapshotFiles.config)
  const state = await readListed(directory, manifest, snapshotFiles.state)
  const index = await readListed(directory, manifest, snapshotFiles.index)
  const records = judged(directory, snapshotFiles.state, () => decodeRecords(state))
  const image = await openListed(directory, manifest, snapshotFiles[memory.form])
  try {
    judged(directory, snapshotFiles[memory.form], () => checkImage(manifest))
    return {
      path: directory,
      manifest,
      config: judged(directory, snapshotFiles.config, () => parseExactly(config.toString())),
      records,
      memory: { fd: image.fd, index },
      [Symbol.asyncDispose]: () => image.close(),
    }
  } catch (error) {
    await image.close()
    throw error
  }
}

/** Pages of a mapped image are where the machine has them: beyond its end there would be none. */
function checkImage({ memory, files }: Manifest): void {
  const ramBytes = memory.ranges.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  if (ramBytes % imagePageBytes !== 0) throw new TypeError(`the machine has ${ramBytes} bytes of RAM, no whole pages`)
  const imageBytes = own(files, snapshotFiles.image)?.bytes
  if (memory.form === 'image' && imageBytes !== ramBytes) {
    throw new TypeError(`it has ${imageBytes} bytes, and the machine has ${ramBytes} bytes of RAM`)
  }
}

async function readListed(directory: string, manifest: Manifest, name: string): Promise<Buffer> {
  const { bytes: expected, sha256 } = entryOf(directory, manifest, name)
  const bytes = await readBounded(directory, name, largestFileBytes, expected)
  if (sha256 === undefined) throw snapshotError(directory, snapshotFiles.manifest, `it has no digest of ${name}`)
  if (digestOf(bytes) !== sha256) throw snapshotError(directory, name, 'it is not what was written: its digest differs')
  return bytes
}

async function openListed(directory: string, manifest: Manifest, name: string): Promise<FileHandle> {
  const { bytes: expected } = entryOf(directory, manifest, name)
  const file = await opened(directory, name)
  try {
    const { size } = await file.stat()
    if (size !== expected) throw snapshotError(directory, name, `it has ${size} bytes and had ${expected}`)
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

function entryOf(directory: string, { files }: Manifest, name: string): { bytes: number; sha256?: string | undefined } {
  const entry = own(files, name)
  if (entry === undefined) throw snapshotError(directory, snapshotFiles.manifest, `it does not list ${name}`)
  return entry
}

async function readBounded(directory: string, name: string, most: number, expected?: number): Promise<Buffer> {
  await using file = await opened(directory, name)
  try {
    const status = await file.stat()
    if (!status.isFile()) throw new Error('it is not a file')
    if (expected !== undefined && status.size !== expected) {
      throw new Error(`it has ${status.size} bytes and had ${expected}`)
    }
    if (status.size > most) throw new Error(`it has ${status.size} bytes, at most ${most} are read`)
    return await file.readFile()
  } catch (cause) {
    throw snapshotError(directory, name, cause)
  }
}

async function opened(directory: string, name: string): Promise<FileHandle> {
  try {
    // A FIFO in its place must not make anybody wait.
    return await open(join(directory, name), constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (cause) {
    throw snapshotError(directory, name, cause)
  }
}

function judged<T>(directory: string, name: string, judge: () => T): T {
  try {
    return judge()
  } catch (cause) {
    throw snapshotError(directory, name, cause)
  }
}
