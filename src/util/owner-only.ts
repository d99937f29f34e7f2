import { chmodSync, existsSync } from 'node:fs'
import { hasCode } from './errors.ts'

const socketMode = 0o600

/** Runs `make`, which binds a Unix socket to `path`: at no moment may others than its owner connect there. */
export function bindOwnerOnly<T>(path: string, make: () => T): T {
  const mask = setMask(0o777 & ~socketMode)
  try {
    const made = make()
    if (mask === undefined && existsSync(path)) chmodSync(path, socketMode)
    return made
  } finally {
    if (mask !== undefined) process.umask(mask)
  }
}

/**
 * The mask that was there before; undefined in a worker, as the mask is the process's and not a worker's to set. To ask
 * `node:worker_threads` for the thread instead would load it, a tenth of the time that it takes to serve the API.
 */
function setMask(mask: number): number | undefined {
  try {
    return process.umask(mask)
  } catch (error) {
    if (hasCode(error, 'ERR_WORKER_UNSUPPORTED_OPERATION')) return undefined
    throw error
  }
}
