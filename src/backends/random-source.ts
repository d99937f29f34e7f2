import { constants, type FileHandle, open } from 'node:fs/promises'
import { reasonOf, TsvmmError } from '../util/errors.ts'

export interface RandomSource {
  /** At most so many bytes, at least one. */
  read(lengthBytes: number): Promise<Uint8Array>
  close(): Promise<void>
}

/** A file or character device of random bytes. Throws ERR_RNG naming it. */
export async function openRandomSource(path: string): Promise<RandomSource> {
  try {
    const file = await openChecked(path)
    return {
      async read(lengthBytes) {
        const { bytesRead, buffer } = await file.read(new Uint8Array(lengthBytes), 0, lengthBytes, null)
        if (bytesRead === 0) throw new Error('is at its end')
        return buffer.subarray(0, bytesRead)
      },
      close: () => file.close(),
    }
  } catch (cause) {
    throw new TsvmmError('ERR_RNG', { path, reason: reasonOf(cause) }, { cause })
  }
}

/**
 * Looks first with O_NONBLOCK, since a FIFO given by mistake would wait for its writer, and where no signal could end that;
 * then opens the same file again without, because a device shall wait for its bytes.
 */
async function openChecked(path: string): Promise<FileHandle> {
  await using probe = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const stat = await probe.stat()
  if (stat.isDirectory()) throw new Error('is a directory')
  if (!stat.isFile() && !stat.isCharacterDevice()) throw new Error('is neither a file nor a character device')
  if (stat.isFile() && stat.size === 0) throw new Error('is empty')
  return await open(`/proc/self/fd/${probe.fd}`, 'r')
}
