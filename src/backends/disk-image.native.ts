import { closeSync, openSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { addon } from '../native/addon.ts'
import type { DiskImageOptions, NativeDiskImage } from '../native/disk-image.ts'
import { TsvmmError } from '../util/errors.ts'
import { printable } from '../util/issues.ts'
import {
  bytesOf,
  type DiskOptions,
  fdatasync,
  type HandedFile,
  type OpenDisk,
  type OpenFile,
  once,
  openDisk,
  openFile,
  opening,
  sectorBytes,
} from './disk.native.ts'
import { readFixedVhd, vhdFooterBytes } from './vhd-footer.ts'

/** Formats of images that have more in them than the disk's bytes. */
export type ImageFormat = 'qcow2' | 'vhd' | 'vhdx'

export interface ImageOptions extends DiskOptions {
  readonly format: ImageFormat
  /** It may stand on other files, which it names. */
  readonly mayHaveBackingFile: boolean
}

/** More images than this on each other are a mistake. */
const mostLayers = 200

/**
 * Opens and locks a disk in an image of another format than raw, and the files that it stands on, which readers share. Throws
 * ERR_DISK or ERR_DISK_LOCKED naming the file.
 */
export function openImage(options: ImageOptions): OpenDisk {
  const { format, isLockedLater = false } = options
  if (format === 'vhd') return openFixedVhd(options)
  if (!isLockedLater) return new ImageDisk(options, openLayers(options))
  // Somebody else writes to it: what is found now is no more than what it will look like.
  const { file, ...others } = options
  try {
    const seen = openLayers({ ...others, isReadOnly: true })
    closeLayer(seen)
    return new ImageDisk(options, seen)
  } catch (error) {
    file?.close()
    throw error
  }
}

function openLayers(options: ImageOptions): Layer {
  const { path, format, isReadOnly } = options
  if (format === 'vhd') throw new RangeError('a fixed VHD has no layers')
  return new Layers(options).open(path, format, isReadOnly)
}

/** An image has tables in memory: it is opened anew whenever somebody else may have written to it. */
class ImageDisk implements OpenDisk {
  readonly isOpenedAnew = true
  readonly #options: ImageOptions
  readonly sizeBytes: number
  readonly logicalBlockBytes: number
  readonly alignmentBytes: number
  readonly canDiscard: boolean
  readonly canWriteZeroes: boolean
  #layer: Layer | undefined
  /** The file alone, while another process may have the image open by it. */
  #file: HandedFile | undefined

  constructor(options: ImageOptions, layer: Layer) {
    const { sizeBytes, logicalBlockBytes, alignmentBytes } = layer
    const { isReadOnly, isSparse } = options
    const { file, ...own } = options
    this.#options = own
    this.#file = file
    this.sizeBytes = sizeBytes
    this.logicalBlockBytes = logicalBlockBytes
    this.alignmentBytes = alignmentBytes
    this.canDiscard = !isReadOnly && isSparse
    this.canWriteZeroes = !isReadOnly
    if (layer.image.sizeBytes !== 0) this.#layer = layer
  }

  get source(): { readonly image: NativeDiskImage } {
    if (this.#layer === undefined) throw new RangeError('the image is not open')
    return { image: this.#layer.image }
  }

  get fd(): number {
    const file = this.#layer?.file ?? this.#file
    if (file === undefined) throw new RangeError('the image is not open')
    return file.fd
  }

  lock(): void {
    if (this.#layer !== undefined) return
    const layer = this.#openLocked()
    if (layer.sizeBytes !== this.sizeBytes) {
      closeLayer(layer)
      const reason = `has ${layer.sizeBytes} bytes, and had ${this.sizeBytes} when it was looked at first`
      throw new TsvmmError('ERR_DISK', { path: this.#options.path, reason })
    }
    this.#layer = layer
  }

  #openLocked(): Layer {
    const file = this.#file
    this.#file = undefined
    try {
      return openLayers({ ...this.#options, isLockedLater: false, ...(file === undefined ? {} : { file }) })
    } catch (error) {
      file?.close()
      throw error
    }
  }

  async unlock(isHandedOver = false): Promise<void> {
    const { path, isReadOnly } = this.#options
    if (this.#layer === undefined) return
    if (isHandedOver) {
      this.#layer.image.close()
      const { file } = this.#layer
      this.#file = { fd: file.fd, close: once(() => file.close(true)) }
      this.#layer = undefined
      return
    }
    this.close()
    if (isReadOnly) return
    const fd = openSync(path, 'r')
    try {
      await fdatasync(fd)
    } finally {
      closeSync(fd)
    }
  }

  close(): void {
    if (this.#layer !== undefined) closeLayer(this.#layer)
    this.#file?.close()
    this.#layer = undefined
    this.#file = undefined
  }
}

/** A fixed VHD is a raw disk with a footer behind it. */
function openFixedVhd(options: ImageOptions): OpenDisk {
  const disk = openDisk(options)
  try {
    const fileBytes = disk.sizeBytes
    const footer = bytesOf(disk.source.fd)(fileBytes - vhdFooterBytes, vhdFooterBytes)
    const sizeBytes = opening(options.path, () => readFixedVhd(footer, fileBytes))
    const { grow: _, ...fixed } = disk
    return { ...fixed, source: { ...disk.source, sizeBytes }, sizeBytes }
  } catch (error) {
    disk.close()
    throw error
  }
}

interface Layer {
  readonly image: NativeDiskImage
  /** Which the image has open by itself, too: to give its lock back. */
  readonly file: OpenFile
  readonly sizeBytes: number
  readonly logicalBlockBytes: number
  readonly alignmentBytes: number
}

/** Once: the descriptor is anybody's afterwards. */
function closeLayer({ image, file }: Layer): void {
  image.close()
  file.close()
}

/** An image and what it stands on. */
class Layers {
  readonly #options: ImageOptions
  /** Files that are open, by device and inode. */
  readonly #files = new Set<string>()

  constructor(options: ImageOptions) {
    this.#options = options
  }

  open(path: string, format: DiskImageOptions['format'], isReadOnly: boolean): Layer {
    const layer = opening(path, () => this.#openOne(path, format, isReadOnly))
    try {
      const { image } = layer
      if (image.backing !== undefined) this.#standOn(path, image, image.backing)
      return layer
    } catch (error) {
      closeLayer(layer)
      throw error
    }
  }

  #openOne(path: string, format: DiskImageOptions['format'], isReadOnly: boolean): Layer {
    // Only the one on top is handed over.
    const isTop = this.#files.size === 0
    const { dev, ino } = statSync(path)
    if (this.#files.has(`${dev}:${ino}`)) throw new Error('stands on itself')
    if (this.#files.size === mostLayers) throw new Error(`stands on more than ${mostLayers} others`)
    this.#files.add(`${dev}:${ino}`)
    const { isDirect, isSparse: sparse, isLockedLater = false } = this.#options
    const handed = isTop && this.#options.file !== undefined ? { file: this.#options.file } : {}
    const file = openFile({ path, isReadOnly, isDirect, isLockedLater, ...handed })
    const { fd, alignmentBytes, sizeBytes } = file
    try {
      const options = { format, fd, readOnly: isReadOnly, alignmentBytes, sparse }
      const raw = format === 'raw' ? { sizeBytes: sizeBytes - (sizeBytes % sectorBytes) } : {}
      const image = new (addon().DiskImage)({ ...options, ...raw })
      const { sizeBytes: ownBytes, logicalBlockBytes } = image
      if (ownBytes !== 0) return { image, file, sizeBytes: ownBytes, logicalBlockBytes, alignmentBytes }
      image.close()
      throw new Error('is smaller than a sector')
    } catch (error) {
      file.close()
      throw error
    }
  }

  #standOn(path: string, image: NativeDiskImage, backing: NonNullable<NativeDiskImage['backing']>): void {
    const below = backingFile(path, backing)
    if (!this.#options.mayHaveBackingFile) {
      const reason = `stands on another file, ${printable(below.name)}: say backing_files=on if that is to be opened`
      throw new TsvmmError('ERR_DISK', { path, reason })
    }
    const lower = this.open(below.path, below.format, true)
    image.setBacking(lower.image)
    // The one above keeps it, and with it the lock.
    lower.image.close()
    lower.file.close(true)
  }
}

/** Where an image's backing file is. Throws ERR_DISK naming the image. */
function backingFile(path: string, { path: nameBytes, format: formatBytes }: NonNullable<NativeDiskImage['backing']>) {
  const name = Buffer.from(nameBytes).toString()
  const format = Buffer.from(formatBytes).toString()
  const refuse = (reason: string): never => {
    throw new TsvmmError('ERR_DISK', { path, reason: `its backing file ${printable(name)} ${reason}` })
  }
  if (!Buffer.from(name).equals(nameBytes) || name.includes('\0')) refuse('has a name that is no text')
  // QEMU's other ways to say where a file is: nbd://host, json:{...}, fat:folder.
  if (/^[^/]*:/.test(name)) refuse('is not named by a path')
  if (format === '') refuse('may be of any format: qemu-img rebase -u -b FILE -F FORMAT says of which')
  if (format !== 'raw' && format !== 'qcow2')
    return refuse(`is of a format that is not supported: ${printable(format)}`)
  return { name, path: resolve(dirname(path), name), format } as const
}
