import { constants } from 'node:fs'
import { copyFile, type FileHandle, open, unlink } from 'node:fs/promises'
import { hasCode, reasonOf, TsvmmError } from '../util/errors.ts'
import { nameBackingFile } from './backing-name.ts'

const chunkBytes = 1024 * 1024
/** What is all zero becomes a hole. */
const blockBytes = 64 * 1024
const zeroes = Buffer.alloc(blockBytes)

/** A disk's file, as a machine's configuration has it. */
export interface DiskFile {
  readonly path: string
  /** It is an image that may stand on another file, which it names. */
  readonly backing_files: boolean
}

/** As copyDisk(); the copy stands on the same file as the original, wherever it is. */
export async function copyDiskOf(disk: DiskFile, to: string, signal?: AbortSignal): Promise<void> {
  await copyDisk(disk.path, to, signal)
  if (!disk.backing_files) return
  try {
    await nameBackingFile(to, disk.path)
  } catch (cause) {
    await unlink(to)
    throw new TsvmmError('ERR_DISK', { path: disk.path, reason: `cannot copy: ${reasonOf(cause)}` }, { cause })
  }
}

/**
 * Copies a disk image: blocks are shared where the file system can, holes and zeroes are holes otherwise. Nothing is left
 * of a copy that fails. Throws ERR_DISK, also where `to` is there already or `from` is no regular file.
 */
export async function copyDisk(from: string, to: string, signal?: AbortSignal): Promise<void> {
  let isMade = false
  try {
    await using source = await open(from, constants.O_RDONLY | constants.O_NONBLOCK)
    const status = await source.stat()
    if (!status.isFile()) throw new Error('only regular files can be copied: use another path')
    if (await isReflinked(from, to)) return
    await using target = await open(to, 'wx', 0o600)
    isMade = true
    await copySparsely(source, target, status.size, signal)
  } catch (cause) {
    if (isMade) await unlink(to)
    signal?.throwIfAborted()
    const isTargets = hasCode(cause, 'EEXIST')
    throw new TsvmmError(
      'ERR_DISK',
      { path: isTargets ? to : from, reason: `cannot copy: ${reasonOf(cause)}` },
      { cause },
    )
  }
}

async function isReflinked(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL)
    return true
  } catch (error) {
    if (hasCode(error, 'EEXIST')) throw error
    return false
  }
}

async function copySparsely(
  source: FileHandle,
  target: FileHandle,
  sizeBytes: number,
  signal?: AbortSignal,
): Promise<void> {
  const chunk = Buffer.alloc(chunkBytes)
  await target.truncate(sizeBytes)
  for (let position = 0; position < sizeBytes; ) {
    signal?.throwIfAborted()
    const { bytesRead } = await source.read(chunk, 0, chunkBytes, position)
    if (bytesRead === 0) throw new Error(`it ends after ${position} of ${sizeBytes} bytes`)
    for (const { start, end } of runsOfData(chunk.subarray(0, bytesRead))) {
      await writeAll(target, chunk.subarray(start, end), position + start)
    }
    position += bytesRead
  }
}

async function writeAll(target: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const { bytesWritten } = await target.write(bytes, written, bytes.length - written, position + written)
    written += bytesWritten
  }
}

/** The parts that are not zero, in whole blocks. */
function runsOfData(chunk: Buffer): { start: number; end: number }[] {
  const runs: { start: number; end: number }[] = []
  for (let start = 0; start < chunk.length; start += blockBytes) {
    const end = Math.min(start + blockBytes, chunk.length)
    if (chunk.compare(zeroes, 0, end - start, start, end) === 0) continue
    const last = runs.at(-1)
    if (last?.end === start) last.end = end
    else runs.push({ start, end })
  }
  return runs
}
