import { closeSync, constants, fstatSync, openSync, readFile, readFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { own } from '../util/own.ts'
import { digestOf } from './digest.ts'
import { snapshotError } from './error.ts'
import { type Manifest, snapshotFiles } from './manifest.ts'

/** Of files that are read as a whole: index and state of the largest machines. */
const largestFileBytes = 4 * 1024 ** 3
/** Read on the spot: handing it to another thread, step by step, takes longer than reading it. */
const readAtOnceBytes = 1024 * 1024

/** A FIFO in its place must not make anybody wait. */
const toRead = constants.O_RDONLY | constants.O_NONBLOCK

/** A file that the manifest lists, of the length and digest that it had. Throws ERR_SNAPSHOT naming it. */
export async function readListed(directory: string, manifest: Manifest, name: string): Promise<Buffer> {
  const { bytes: expected, sha256 } = entryOf(directory, manifest, name)
  const bytes = await readBounded(directory, name, largestFileBytes, expected)
  if (sha256 === undefined) throw snapshotError(directory, snapshotFiles.manifest, `it has no digest of ${name}`)
  if (digestOf(bytes) !== sha256) throw snapshotError(directory, name, 'it is not what was written: its digest differs')
  return bytes
}

/** Opens a file that the manifest lists, of the length that it had. Throws ERR_SNAPSHOT naming it. */
export async function openListed(directory: string, manifest: Manifest, name: string): Promise<FileHandle> {
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

/** Reads a file of at most `most` bytes, and of exactly `expected` where that is known. Throws ERR_SNAPSHOT naming it. */
export async function readBounded(directory: string, name: string, most: number, expected?: number): Promise<Buffer> {
  try {
    const fd = openSync(join(directory, name), toRead)
    try {
      const status = fstatSync(fd)
      if (!status.isFile()) throw new Error('it is not a file')
      if (expected !== undefined && status.size !== expected) {
        throw new Error(`it has ${status.size} bytes and had ${expected}`)
      }
      if (status.size > most) throw new Error(`it has ${status.size} bytes, at most ${most} are read`)
      return status.size <= readAtOnceBytes ? readFileSync(fd) : await promisify(readFile)(fd)
    } finally {
      closeSync(fd)
    }
  } catch (cause) {
    throw snapshotError(directory, name, cause)
  }
}

/** What `judge` makes of a file; what it throws becomes an ERR_SNAPSHOT naming the file. */
export function judged<T>(directory: string, name: string, judge: () => T): T {
  try {
    return judge()
  } catch (cause) {
    throw snapshotError(directory, name, cause)
  }
}

function entryOf(directory: string, { files }: Manifest, name: string): { bytes: number; sha256?: string | undefined } {
  const entry = own(files, name)
  if (entry === undefined) throw snapshotError(directory, snapshotFiles.manifest, `it does not list ${name}`)
  return entry
}

async function opened(directory: string, name: string): Promise<FileHandle> {
  try {
    return await open(join(directory, name), toRead)
  } catch (cause) {
    throw snapshotError(directory, name, cause)
  }
}
