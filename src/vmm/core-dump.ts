import { type FileHandle, open, unlink } from 'node:fs/promises'
import type { CoreDump } from '../machine/build.ts'
import type { CoreSegment } from '../machine/elf-core.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'

const chunkBytes = 1024 * 1024

/**
 * Writes a core file, which must not be there yet and which only this user may read. What is zero is a hole in it. Throws ERR_CORE_DUMP, or
 * the reason of the signal; the file is gone then.
 */
export async function writeCoreDump(path: string, source: CoreDump, signal: AbortSignal): Promise<void> {
  const file = await naming(path, open(path, 'wx', 0o600))
  try {
    await naming(path, writeAll(file, source, signal))
  } catch (error) {
    await unlink(path).catch(() => {})
    throw error
  } finally {
    await file.close()
  }
}

async function writeAll(file: FileHandle, source: CoreDump, signal: AbortSignal): Promise<void> {
  await write(file, source.header, 0)
  let end = source.header.length
  for (const segment of source.segments) {
    await writeSegment(file, source, segment, signal)
    end = segment.offset + segment.sizeBytes
  }
  await file.truncate(end)
}

async function writeSegment(file: FileHandle, source: CoreDump, segment: CoreSegment, signal: AbortSignal) {
  const { guestAddress, sizeBytes, offset } = segment
  for (let done = 0; done < sizeBytes; done += chunkBytes) {
    signal.throwIfAborted()
    const bytes = source.read(guestAddress + done, Math.min(chunkBytes, sizeBytes - done))
    if (!isZero(bytes)) await write(file, bytes, offset + done)
  }
}

const zeroes = Buffer.alloc(chunkBytes)

function isZero(bytes: Uint8Array): boolean {
  return zeroes.compare(bytes, 0, bytes.length, 0, bytes.length) === 0
}

async function write(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done)
    done += bytesWritten
  }
}

async function naming<T>(path: string, action: Promise<T>): Promise<T> {
  try {
    return await action
  } catch (cause) {
    if (cause instanceof TsvmmError) throw cause
    throw new TsvmmError('ERR_CORE_DUMP', { path, reason: reasonOf(cause) }, { cause })
  }
}
