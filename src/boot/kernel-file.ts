import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { type ErrorCode, reasonOf, TsvmmError } from '../util/errors.ts'

/** A kernel or initramfs on disk: headers are read here, contents go straight into guest memory. */
export class BootFile implements Disposable {
  readonly fd: number
  readonly path: string
  readonly sizeBytes: number

  private constructor(fd: number, path: string, sizeBytes: number) {
    this.fd = fd
    this.path = path
    this.sizeBytes = sizeBytes
  }

  /** Throws `code` naming the path where it is missing, unreadable, empty or not a regular file. */
  static open(path: string, code: ErrorCode): BootFile {
    let fd: number | undefined
    try {
      // Without O_NONBLOCK a FIFO given by mistake would wait for its writer.
      fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
      const stat = fstatSync(fd)
      if (!stat.isFile()) throw new Error(stat.isDirectory() ? 'is a directory' : 'is not a regular file')
      if (stat.size === 0) throw new Error('is empty')
      return new BootFile(fd, path, stat.size)
    } catch (cause) {
      if (fd !== undefined) closeSync(fd)
      throw new TsvmmError(code, { path, reason: reasonOf(cause) }, { cause })
    }
  }

  /** Up to `lengthBytes` from `offset`; shorter at the end of the file. */
  read(offset: number, lengthBytes: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(lengthBytes)
    const count = readSync(this.fd, bytes, 0, lengthBytes, offset)
    return bytes.subarray(0, count)
  }

  [Symbol.dispose](): void {
    closeSync(this.fd)
  }
}
