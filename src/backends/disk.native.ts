import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { addon } from '../native/addon.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { claimedFormat, footerBytes, signatureBytes } from './image-format.ts'

const sectorBytes = 512
const pageBytes = 4096

/** A raw image or block device, open and locked. */
export interface OpenDisk {
  readonly fd: number
  /** Whole sectors; a last part of one is not shown to the guest. */
  readonly sizeBytes: number
  readonly logicalBlockBytes: number
  /** What buffers and offsets of transfers must be aligned to. */
  readonly alignmentBytes: number
  readonly canDiscard: boolean
  readonly canWriteZeroes: boolean
  /** Gives the lock back too. Idempotent. */
  close(): void
}

export interface DiskOptions {
  readonly path: string
  readonly isReadOnly: boolean
  readonly isDirect: boolean
  /** Nobody has said that it is raw: one that claims another format is refused. */
  readonly isFormatUnknown?: boolean
}

/** Opens and locks a disk: one writer or any number of readers. Throws ERR_DISK or ERR_DISK_LOCKED naming the path. */
export function openDisk({ path, isReadOnly, isDirect, isFormatUnknown = false }: DiskOptions): OpenDisk {
  let fd: number | undefined
  try {
    const access = isReadOnly ? constants.O_RDONLY : constants.O_RDWR
    // Without O_NONBLOCK a FIFO given by mistake would wait for its other end.
    fd = openSync(path, access | constants.O_NONBLOCK | (isDirect ? constants.O_DIRECT : 0))
    const stat = fstatSync(fd)
    if (stat.isDirectory()) throw new Error('is a directory')
    if (!stat.isFile() && !stat.isBlockDevice()) throw new Error('is neither a regular file nor a block device')
    const probe = addon().probeDisk(fd)
    const sizeBytes = probe.sizeBytes - (probe.sizeBytes % sectorBytes)
    if (sizeBytes === 0) throw new Error('is smaller than a sector')
    if (isFormatUnknown) refuseOtherFormats(fd, probe.sizeBytes)
    if (!addon().lockFile(fd, isReadOnly ? 'shared' : 'exclusive')) throw new TsvmmError('ERR_DISK_LOCKED', { path })
    return opened(fd, sizeBytes, probe, isDirect)
  } catch (cause) {
    if (fd !== undefined) closeSync(fd)
    if (cause instanceof TsvmmError) throw cause
    throw new TsvmmError('ERR_DISK', { path, reason: reasonOf(cause) }, { cause })
  }
}

function refuseOtherFormats(fd: number, sizeBytes: number): void {
  // Opened anew, because direct reads would need aligned buffers.
  const plain = openSync(`/proc/self/fd/${fd}`, 'r')
  try {
    const read = (position: number, length: number) => {
      const bytes = new Uint8Array(length)
      return bytes.subarray(0, readSync(plain, bytes, { position }))
    }
    const format = claimedFormat(read(0, signatureBytes), read(sizeBytes - footerBytes, footerBytes))
    if (format !== undefined) throw new Error(`is a ${format} image; say image_type=raw if it is to be taken for raw`)
  } finally {
    closeSync(plain)
  }
}

function opened(
  fd: number,
  sizeBytes: number,
  probe: { logicalBlockBytes: number; discard: boolean; writeZeroes: boolean },
  isDirect: boolean,
): OpenDisk {
  let isClosed = false
  return {
    fd,
    sizeBytes,
    logicalBlockBytes: probe.logicalBlockBytes,
    alignmentBytes: isDirect ? Math.max(probe.logicalBlockBytes, pageBytes) : 1,
    canDiscard: probe.discard,
    canWriteZeroes: probe.writeZeroes,
    close() {
      if (isClosed) return
      isClosed = true
      closeSync(fd)
    },
  }
}
