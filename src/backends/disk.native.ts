import {
  closeSync,
  constants,
  fdatasync as fdatasyncWithCallback,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  type Stats,
  statSync,
} from 'node:fs'
import { promisify } from 'node:util'
import { addon } from '../native/addon.ts'
import type { NativeDiskImage } from '../native/disk-image.ts'
import type { FileDisk } from '../native/engines.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { claimedFormat, footerBytes, signatureBytes } from './image-format.ts'

export const fdatasync = promisify(fdatasyncWithCallback)
export const sectorBytes = 512
const pageBytes = 4096

/** A disk, open and locked. */
export interface OpenDisk {
  /** Of the file, with its lock. */
  readonly fd: number
  /** What an engine serves it from. */
  readonly source: FileDisk | { readonly image: NativeDiskImage }
  /** Whole sectors; a last part of one is not shown to the guest. */
  readonly sizeBytes: number
  readonly logicalBlockBytes: number
  /** What buffers and offsets of transfers must be aligned to. */
  readonly alignmentBytes: number
  readonly canDiscard: boolean
  readonly canWriteZeroes: boolean
  /** So many bytes are there from now on, more than before; absent where that cannot be. Throws ERR_DISK. */
  grow?(sizeBytes: number): void
  /** `source` is another one after it was unlocked and locked; only while it is locked there is one. */
  readonly isOpenedAnew: boolean
  /**
   * Takes the lock, as opening does unless that is put off; throws ERR_DISK_LOCKED. What was written elsewhere before is read
   * from then on. Idempotent.
   */
  lock(): void
  /**
   * Has all that was written on the disk, and gives the lock away; `isHandedOver`: to whoever has the same open file, to which the lock
   * belongs. Nothing is under way. Idempotent.
   */
  unlock(isHandedOver?: boolean): Promise<void>
  /** Gives the lock back too. Idempotent. */
  close(): void
}

export interface DiskOptions {
  readonly path: string
  readonly isReadOnly: boolean
  readonly isDirect: boolean
  /** What the guest discards goes back to the host. */
  readonly isSparse: boolean
  /** It is another one's still, and is to be locked later on. */
  readonly isLockedLater?: boolean
  /** What that one has open. */
  readonly file?: HandedFile
}

/** An open file that another process has, too, or has had. */
export interface HandedFile {
  readonly fd: number
  /** Without the lock, which is of the open file. Idempotent. */
  close(): void
}

/** One that has come from another process: what this one has not opened is none of Node's. */
export function handedFile(fd: number): HandedFile {
  return { fd, close: once(() => addon().closeDescriptor(fd)) }
}

export interface RawDiskOptions extends DiskOptions {
  /** Nobody has said that it is raw: one that claims another format is refused. */
  readonly isFormatUnknown?: boolean
}

/** A disk's file or device, open and locked. */
export interface OpenFile {
  readonly fd: number
  readonly sizeBytes: number
  readonly logicalBlockBytes: number
  readonly alignmentBytes: number
  readonly canDiscard: boolean
  readonly canWriteZeroes: boolean
  /**
   * Once. Gives the lock back, unless another process has the same open file. To close it is not enough: a child of this process
   * that is not another program yet has the same open file, and with it the lock.
   */
  close(keepsLock?: boolean): void
}

/** Opens and locks a raw disk: one writer or any number of readers. Throws ERR_DISK or ERR_DISK_LOCKED naming the path. */
export function openDisk({ isFormatUnknown = false, ...options }: RawDiskOptions): OpenDisk & { source: FileDisk } {
  return opening(options.path, () => {
    const { fd, sizeBytes: fileBytes, canDiscard, ...file } = openFile(options)
    // The lock is of the open file: another process that has it may need it.
    let isShared = options.file !== undefined
    const close = once(() => file.close(isShared))
    try {
      const sizeBytes = fileBytes - (fileBytes % sectorBytes)
      if (sizeBytes === 0) throw new Error('is smaller than a sector')
      if (isFormatUnknown) refuseOtherFormats(fd, fileBytes)
      const { isReadOnly: readOnly, isSparse: sparse } = options
      const source = { fd, sizeBytes, readOnly, alignmentBytes: file.alignmentBytes, sparse }
      return {
        ...{ ...file, fd, source, sizeBytes, canDiscard: canDiscard && sparse, close },
        isOpenedAnew: false,
        ...(readOnly ? {} : { grow: (size: number) => opening(options.path, () => growFile(fd, size)) }),
        lock() {
          lock(fd, options)
          // File systems of a network see to that by themselves when a lock is taken.
          if (!isShared && fstatSync(fd).isBlockDevice()) addon().forgetCached(fd)
          isShared = false
        },
        async unlock(isHandedOver = false) {
          isShared = isHandedOver
          if (isHandedOver) return
          if (!readOnly) await fdatasync(fd)
          addon().unlockFile(fd)
        },
      }
    } catch (error) {
      close()
      throw error
    }
  })
}

function growFile(fd: number, sizeBytes: number): void {
  if (fstatSync(fd).isFile()) {
    // It may have grown by itself.
    if (fstatSync(fd).size < sizeBytes) ftruncateSync(fd, sizeBytes)
    return
  }
  const { sizeBytes: deviceBytes } = addon().probeDisk(fd)
  if (deviceBytes < sizeBytes)
    throw new Error(`the device has ${deviceBytes} bytes: whoever made it can make it larger`)
}

/** What `open` returns; what it throws names the disk. */
export function opening<T>(path: string, open: () => T): T {
  try {
    return open()
  } catch (cause) {
    if (cause instanceof TsvmmError) throw cause
    throw new TsvmmError('ERR_DISK', { path, reason: reasonOf(cause) }, { cause })
  }
}

/** Done once, however often it is called. */
export function once(action: () => void): () => void {
  let isDone = false
  return () => {
    if (isDone) return
    isDone = true
    action()
  }
}

type FileOptions = Omit<DiskOptions, 'isSparse'>

function lock(fd: number, { path, isReadOnly }: FileOptions): void {
  if (!addon().lockFile(fd, isReadOnly ? 'shared' : 'exclusive')) throw new TsvmmError('ERR_DISK_LOCKED', { path })
}

/** Opens and locks what a disk is kept in. Throws what the host says, and ERR_DISK_LOCKED. */
export function openFile(options: FileOptions): OpenFile {
  const { path, isReadOnly, isDirect, isLockedLater = false } = options
  const access = isReadOnly ? constants.O_RDONLY : constants.O_RDWR
  // Without O_NONBLOCK a FIFO given by mistake would wait for its other end.
  const { fd, close } =
    options.file ?? opened(path, access | constants.O_NONBLOCK | (isDirect ? constants.O_DIRECT : 0))
  try {
    const stat = fstatSync(fd)
    if (options.file !== undefined) requireSameFile(stat, statSync(path))
    if (stat.isDirectory()) throw new Error('is a directory')
    if (!stat.isFile() && !stat.isBlockDevice()) throw new Error('is neither a regular file nor a block device')
    const { sizeBytes, logicalBlockBytes, discard, writeZeroes } = addon().probeDisk(fd)
    if (!isLockedLater) lock(fd, options)
    const alignmentBytes = isDirect ? Math.max(logicalBlockBytes, pageBytes) : 1
    return {
      ...{ fd, sizeBytes, logicalBlockBytes, alignmentBytes, canDiscard: discard, canWriteZeroes: writeZeroes },
      close(keepsLock = false) {
        try {
          if (!keepsLock) addon().unlockFile(fd)
        } finally {
          close()
        }
      },
    }
  } catch (error) {
    close()
    throw error
  }
}

function opened(path: string, flags: number): HandedFile {
  const fd = openSync(path, flags)
  return { fd, close: once(() => closeSync(fd)) }
}

function requireSameFile(one: Stats, other: Stats): void {
  if (one.dev !== other.dev || one.ino !== other.ino)
    throw new Error('is another file than the one that is handed over')
}

function refuseOtherFormats(fd: number, sizeBytes: number): void {
  const read = bytesOf(fd)
  const format = claimedFormat(read(0, signatureBytes), read(sizeBytes - footerBytes, footerBytes))
  if (format === undefined) return
  throw new Error(`is a ${format.name} image; say image_type=${format.type}, or raw if it is to be taken for raw`)
}

/** Reads of an open disk, however it was opened. */
export function bytesOf(fd: number): (position: number, length: number) => Uint8Array {
  return (position, length) => {
    // Opened anew, because direct reads would need aligned buffers.
    const plain = openSync(`/proc/self/fd/${fd}`, 'r')
    try {
      const bytes = new Uint8Array(length)
      return bytes.subarray(0, readSync(plain, bytes, { position }))
    } finally {
      closeSync(plain)
    }
  }
}
