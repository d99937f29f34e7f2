import { availableParallelism } from 'node:os'
import { relative, resolve } from 'node:path'
import type { VmConfig } from '../config/vm-config.ts'
import type { MachineRam } from '../machine/build.ts'
import type { CpuFingerprint } from '../machine/cpu-fingerprint.ts'
import type { RamImageForm, RamImageProgress, RamImageWriter } from '../memory/ram-image.ts'
import type { ComponentRecord } from '../state/walk.ts'
import { packageVersion } from '../util/version.ts'
import { type Durability, type FileEntry, SnapshotDirectory } from './directory.ts'
import { snapshotError } from './error.ts'
import type { SnapshotLayers } from './layers.ts'
import {
  formatManifest,
  hostArchitecture,
  incremental,
  type Manifest,
  newestFormat,
  snapshotFiles,
} from './manifest.ts'
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
  /**
   * The machine runs while its memory is saved, and stands still only for its state and for what it wrote last. A guest that
   * writes faster than the disk takes it stands still for longer.
   */
  readonly live?: boolean
  /** Gives the snapshot up; nothing is left of it, and the machine goes on. */
  readonly signal?: AbortSignal
}

/** RAM that is written. */
export type WritableRam = Pick<MachineRam, 'ranges' | 'createImageWriter'>

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
  readonly #options: SnapshotOptions
  readonly #parent: Manifest['parent']
  readonly #imageBytes: () => Promise<number>

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
  async writeRam(present?: Uint8Array): Promise<void> {
    const { signal } = this.#options
    const onAbort = () => this.#writer.cancel()
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      await this.#writer.write(present)
      signal?.throwIfAborted()
    } catch (cause) {
      signal?.throwIfAborted()
      throw snapshotError(this.#directory.path, snapshotFiles[this.#form], cause)
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  async finish(config: VmConfig, cpu: CpuFingerprint, records: readonly ComponentRecord[]): Promise<Manifest> {
    const files: Record<string, FileEntry> = {}
    files[snapshotFiles[this.#form]] = { bytes: await this.#imageBytes() }
    const write = async (name: string, bytes: Uint8Array) => {
      files[name] = await this.#directory.write(name, bytes)
    }
    await write(snapshotFiles.index, this.#writer.index())
    await write(snapshotFiles.config, Buffer.from(`${JSON.stringify(config, undefined, 2)}\n`))
    await write(snapshotFiles.state, encodeRecords(records))
    const manifest: Manifest = {
      format: newestFormat,
      features: this.#parent === undefined ? [] : [incremental],
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
