import { closeSync, constants, fstatSync, openSync, statSync, unlinkSync } from 'node:fs'
import { addon } from '../native/addon.ts'
import { reasonOf } from '../util/errors.ts'
import { refusal } from './socket-address.ts'

/** The file that makes one server the owner of a socket's path: `<path>.lock`, with an OFD lock on it. */
export class SocketLock implements Disposable {
  readonly #path: string
  readonly #fd: number
  #isReleased = false

  /** Throws ERR_API_SOCKET where another server holds it. */
  static take(socketPath: string): SocketLock {
    const path = `${socketPath}.lock`
    for (;;) {
      const fd = open(socketPath, path)
      try {
        if (!addon().lockFile(fd, 'exclusive')) throw refusal(socketPath, 'another server is listening on it')
        // Its last owner may have removed it between our opening and our locking: then nobody else would see the lock.
        if (isStillThere(fd, path)) return new SocketLock(path, fd)
      } catch (error) {
        closeSync(fd)
        throw error
      }
      closeSync(fd)
    }
  }

  private constructor(path: string, fd: number) {
    this.#path = path
    this.#fd = fd
  }

  get isReleased(): boolean {
    return this.#isReleased
  }

  /** Removes the file and gives the lock back. Idempotent. */
  release(): void {
    if (this.#isReleased) return
    this.#isReleased = true
    try {
      if (isStillThere(this.#fd, this.#path)) unlinkSync(this.#path)
    } finally {
      closeSync(this.#fd)
    }
  }

  [Symbol.dispose](): void {
    this.release()
  }
}

function open(socketPath: string, path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  } catch (cause) {
    throw refusal(socketPath, `its lock file ${path}: ${reasonOf(cause)}`, cause)
  }
}

function isStillThere(fd: number, path: string): boolean {
  const named = statSync(path, { throwIfNoEntry: false })
  const open = fstatSync(fd)
  return named !== undefined && named.ino === open.ino && named.dev === open.dev
}
