import { constants, type FileHandle, open } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { hasCode, reasonOf, TsvmmError } from '../util/errors.ts'

export interface RandomSource {
  /** At most so many bytes, at least one. */
  read(lengthBytes: number): Promise<Uint8Array>
  close(): Promise<void>
}

/** Between two looks whether a device has bytes. */
const retryMs = 20

/** A file or character device of random bytes. Throws ERR_RNG naming it. */
export async function openRandomSource(path: string): Promise<RandomSource> {
  try {
    const file = await openChecked(path)
    const closed = new AbortController()
    return {
      read: lengthBytes => readSome(file, lengthBytes, closed.signal),
      close: async () => {
        closed.abort()
        await file.close()
      },
    }
  } catch (cause) {
    throw new TsvmmError('ERR_RNG', { path, reason: reasonOf(cause) }, { cause })
  }
}

/** A device may have none for long; a read that waited for them could not be ended, nor could the program. */
async function readSome(file: FileHandle, lengthBytes: number, closed: AbortSignal): Promise<Uint8Array> {
  for (;;) {
    try {
      const { bytesRead, buffer } = await file.read(new Uint8Array(lengthBytes), 0, lengthBytes, null)
      if (bytesRead === 0) throw new Error('is at its end')
      return buffer.subarray(0, bytesRead)
    } catch (error) {
      if (!hasCode(error, 'EAGAIN')) throw error
    }
    await delay(retryMs, undefined, { signal: closed })
  }
}

/** With O_NONBLOCK, since a FIFO given by mistake would wait for its writer, where no signal could end that. */
async function openChecked(path: string): Promise<FileHandle> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
  try {
    const stat = await file.stat()
    if (stat.isDirectory()) throw new Error('is a directory')
    if (!stat.isFile() && !stat.isCharacterDevice()) throw new Error('is neither a file nor a character device')
    if (stat.isFile() && stat.size === 0) throw new Error('is empty')
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}
