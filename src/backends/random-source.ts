import { open } from 'node:fs/promises'
import { reasonOf, TsvmmError } from '../util/errors.ts'

export interface RandomSource {
  /** At most so many bytes, at least one. */
  read(lengthBytes: number): Promise<Uint8Array>
  close(): Promise<void>
}

/** A file or device of random bytes. Throws ERR_RNG naming it. */
export async function openRandomSource(path: string): Promise<RandomSource> {
  try {
    const file = await open(path, 'r')
    const stat = await file.stat()
    if (stat.isDirectory()) {
      await file.close()
      throw new Error('is a directory')
    }
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
