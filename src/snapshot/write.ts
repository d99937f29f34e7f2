import { availableParallelism } from 'node:os'
import { relative, resolve } from 'node:path'
import type { VmConfig } from '../config/vm-config.ts'
import { withoutDefaults } from '../config/without-defaults.ts'
import type { MachineRam } from '../machine/build.ts'
import type { CpuFingerprint } from '../machine/cpu-fingerprint.ts'
import type { RamImageForm, RamImageProgress, RamImageWriter } from '../memory/ram-image.ts'
import type { ComponentRecord } from '../state/walk.ts'
import { reasonOf } from '../util/errors.ts'
import { packageVersion } from '../util/version.ts'
import { type Durability, type FileEntry, SnapshotDirectory } from './directory.ts'
import { copyDiskOf, type DiskFile } from './disk-copy.ts'
import { snapshotError } from './error.ts'
import type { SnapshotLayers } from './layers.ts'
import {
  formatManifest,
  hostArchitecture,
  incremental,
  type Manifest,
  newestFormat,
  snapshotFiles,
  withDisks,
} from './manifest.ts'
import { encodePrefetch } from './prefetch.ts'
import { encodeRecords } from './state-file.ts'

export interface SnapshotOptions {
  /** How memory is kept: `image` restores at once and is shared by clones, `zstd` is small. */
  readonly memory?: RamImageForm
  /** zstd's level, -7 to 19; 1 where absent. */
  readonly level?: number
  readonly durability?: Durability
  /** Takes the place of a snapshot that is there already. */
  readonly overwrite?: boolean
  /** A snapshot that this one stands on: only memory that differs from it is saved. */
  readonly parent?: string
  /** `copy`: the disks that it writes to are saved, too, while it stands still. */
  readonly disks?: 'copy' | 'leave'
  /**
   * The machine runs while its memory is saved, and stands still only for its state. Where its memory cannot be
   * write-protected it also stands still for what it wrote last: the longer the faster it writes.
   */
  readonly live?: boolean
  /** `live`: what is left is saved in the pause where it is less than so many bytes, else write-protected there; 4 MiB. */
  readonly pauseLimit?: number
  /** Gives the snapshot up; nothing is left of it, and the machine goes on. */
  readonly signal?: AbortSignal
}

/** RAM that is written. */
export type WritableRam = Pick<MachineRam, 'ranges' | 'createImageWriter' | 'touchedPages'>

/** What a new snapshot is to stand on; `isShown` as of a RamImageBase. */
export interface Base {
  readonly layers: SnapshotLayers
  readonly isShown: boolean
}

/** More threads than this wait for the disk. */
const mostThreads = 8

/**
 * A snapshot in three steps: `begin` while the machine runs, `writeRam` while it is paused, and before that as often as one
 * likes, `finish` when it may run again.
 * Each throws ERR_SNAPSHOT. Disposed of before the end, nothing is left of it.
 */
export class SnapshotWriter implements AsyncDisposable {
  readonly #directory: SnapshotDirectory
  readonly #form: RamImageForm
  readonly #ram: WritableRam
  readonly #writer: RamImageWriter
  readonly #touched: Uint32Array | undefined
  readonly #options: SnapshotOptions
  readonly #parent: Manifest['parent']
  readonly #imageBytes: () => Promise<number>
  readonly #files: Record<string, FileEntry> = {}
  readonly #disks: { id: string; file: string }[] = []

  private constructor(parts: {
    directory: SnapshotDirectory
    ram: WritableRam
    writer: RamImageWriter
    options: SnapshotOptions
    parent: Manifest['parent']
    imageBytes: () => Promise<number>
  }) {
    this.#directory = parts.directory
    this.#ram = parts.ram
    this.#writer = parts.writer
    // Before all of it is touched.
    this.#touched = parts.ram.touchedPages?.()
    this.#options = parts.options
    this.#parent = parts.parent
    this.#form = formOf(parts.options)
    this.#imageBytes = parts.imageBytes
  }

  static async begin(path: string, ram: WritableRam, options: SnapshotOptions, base?: Base): Promise<SnapshotWriter> {
    options.signal?.throwIfAborted()
    const { durability = 'data', overwrite = false, level = 1 } = options
    const form = formOf(options)
    const below = base?.layers.all ?? []
    if (below.some(layer => layer.path === resolve(path))) {
      throw snapshotError(resolve(path), '', 'it cannot take the place of a snapshot that it stands on')
    }
    const directory = await SnapshotDirectory.create(path, { durability, overwrite })
    try {
      const [newest] = below
      const parent = newest && { path: relative(directory.path, newest.path), id: newest.manifest.id }
      const file = await directory.open(snapshotFiles[form])
      const threads = Math.min(mostThreads, availableParallelism())
      const writer = ram.createImageWriter({
        ...{ fd: file.fd, form, level, threads },
        base: base && { layers: below, isShown: base.isShown },
      })
      const imageBytes = async () => (await file.stat()).size
      return new SnapshotWriter({ directory, ram, writer, options, parent, imageBytes })
    } catch (error) {
      await directory[Symbol.asyncDispose]()
      throw error
    }
  }

  progress(): RamImageProgress {
    return this.#writer.progress()
  }

  /**
   * One pass: the pages of `present`, all where it is absent. After the last one the machine is to have stood still since the
   * pages that were written during the others became known. Rejects with the signal's reason where it was given up.
   */
  writeRam(present?: Uint8Array): Promise<void> {
    return this.#pass(() => this.#writer.write(present))
  }

  /** Before freezeRam(), while the machine runs: why that cannot be, undefined where it can. */
  prepareFreeze(): string | undefined {
    try {
      this.#writer.prepareFreeze()
      return undefined
    } catch (cause) {
      return reasonOf(cause)
    }
  }

  /** As writeRam(), in the place of it: the machine may go on as soon as it was called, and is saved as it stood then. */
  freezeRam(present?: Uint8Array): Promise<void> {
    const written = this.#pass(() => this.#writer.freeze(present))
    // It is waited for later on, when the machine runs.
    written.catch(() => {})
    return written
  }

  async #pass(write: () => Promise<void>): Promise<void> {
    const { signal } = this.#options
    signal?.throwIfAborted()
    const onAbort = () => this.#writer.cancel()
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      await write()
      signal?.throwIfAborted()
    } catch (cause) {
      signal?.throwIfAborted()
      throw snapshotError(this.#directory.path, snapshotFiles[this.#form], cause)
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** While the machine stands still. Throws ERR_DISK where it cannot be copied. */
  async copyDisk(id: string, disk: DiskFile): Promise<void> {
    const file = `disk${this.#disks.length}.img`
    const { signal } = this.#options
    this.#files[file] = await this.#directory.add(file, to => copyDiskOf(disk, to, signal))
    this.#disks.push({ id, file })
  }

  async finish(config: VmConfig, cpu: CpuFingerprint, records: readonly ComponentRecord[]): Promise<Manifest> {
    const files = this.#files
    files[snapshotFiles[this.#form]] = { bytes: await this.#imageBytes() }
    const write = async (name: string, bytes: Uint8Array) => {
      files[name] = await this.#directory.write(name, bytes)
    }
    await write(snapshotFiles.index, this.#writer.index())
    await write(snapshotFiles.config, Buffer.from(`${JSON.stringify(withoutDefaults(config), undefined, 2)}\n`))
    await write(snapshotFiles.state, encodeRecords(records))
    if (this.#touched !== undefined) await write(snapshotFiles.prefetch, encodePrefetch(this.#touched))
    const manifest: Manifest = {
      format: newestFormat,
      features: [
        ...(this.#parent === undefined ? [] : [incremental]),
        ...(this.#disks.length === 0 ? [] : [withDisks]),
      ],
      id: crypto.randomUUID(),
      created: new Date().toISOString(),
      writer: { name: 'tsvmm', version: packageVersion },
      architecture: hostArchitecture(),
      cpu,
      ...(this.#parent === undefined ? {} : { parent: this.#parent }),
      memory: {
        form: this.#form,
        ranges: this.#ram.ranges.map(({ guestAddress, sizeBytes }) => ({ guestAddress, sizeBytes })),
      },
      ...(this.#disks.length === 0 ? {} : { disks: this.#disks }),
      components: records.map(({ component, id, version: schemaVersion, body }) => {
        return { name: component, schema: id, version: schemaVersion, bytes: body.length }
      }),
      files,
    }
    this.#options.signal?.throwIfAborted()
    await this.#directory.commit(formatManifest(manifest))
    return manifest
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#writer.close()
    await this.#directory[Symbol.asyncDispose]()
  }
}

function formOf({ memory = 'image' }: SnapshotOptions): RamImageForm {
  return memory
}
