import { writeFileSync } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { hasCode } from '../util/errors.ts'
import { digestOf } from './digest.ts'
import { snapshotError } from './error.ts'
import { exchangeNames } from './exchange.native.ts'
import { snapshotFiles } from './manifest.ts'

/**
 * `none`: the files are on the disk when the kernel likes; `data`: before the snapshot has its name; `full`: and the name,
 * too, before the call returns.
 */
export type Durability = 'none' | 'data' | 'full'

const writtenAtOnceBytes = 1024 * 1024

export interface DirectoryOptions {
  readonly durability: Durability
  /** Takes the place of a snapshot that is there. */
  readonly overwrite: boolean
}

/** What a manifest says of a file. */
export interface FileEntry {
  readonly bytes: number
  readonly sha256?: string
}

/**
 * A snapshot in the making, in a directory beside its name, which it gets in one step at the end: until then there is none,
 * or the old one. Disposed of without `commit`, nothing is left of it.
 */
export class SnapshotDirectory implements AsyncDisposable {
  readonly path: string
  readonly #building: string
  readonly #options: DirectoryOptions
  readonly #files = new Map<string, FileHandle>()
  #isCommitted = false

  private constructor(path: string, building: string, options: DirectoryOptions) {
    this.path = path
    this.#building = building
    this.#options = options
  }

  /** Throws ERR_SNAPSHOT where nothing can be made there, or where something is in the way. */
  static async create(path: string, options: DirectoryOptions): Promise<SnapshotDirectory> {
    const target = resolve(path)
    try {
      await sweep(target)
      await refuseOccupied(target, options.overwrite)
      const building = join(dirname(target), `${leftoverPrefix(target)}${process.pid}-${nextNumber()}`)
      await mkdir(building, { mode: 0o700 })
      return new SnapshotDirectory(target, building, options)
    } catch (cause) {
      throw snapshotError(target, '', cause)
    }
  }

  /** As create(), which it does not keep from failing later: for who would do much before. */
  static async check(path: string, options: DirectoryOptions): Promise<void> {
    const directory = await SnapshotDirectory.create(path, options)
    await directory[Symbol.asyncDispose]()
  }

  /** A new file, closed by this object. Throws ERR_SNAPSHOT. */
  async open(name: string): Promise<FileHandle> {
    try {
      const file = await open(join(this.#building, name), 'wx+', 0o600)
      this.#files.set(name, file)
      return file
    } catch (cause) {
      throw snapshotError(this.path, name, cause)
    }
  }

  /** A file that `make` makes at the path that it is given. Throws what that throws, and ERR_SNAPSHOT. */
  async add(name: string, make: (path: string) => Promise<void>): Promise<FileEntry> {
    const path = join(this.#building, name)
    await make(path)
    try {
      const file = await open(path, 'r')
      this.#files.set(name, file)
      return { bytes: (await file.stat()).size }
    } catch (cause) {
      throw snapshotError(this.path, name, cause)
    }
  }

  /** Throws ERR_SNAPSHOT. */
  async write(name: string, bytes: Uint8Array): Promise<FileEntry> {
    const file = await this.open(name)
    try {
      // Handing little to another thread takes longer than writing it.
      if (bytes.length <= writtenAtOnceBytes) writeFileSync(file.fd, bytes)
      else await file.writeFile(bytes)
    } catch (cause) {
      throw snapshotError(this.path, name, cause)
    }
    return { bytes: bytes.length, sha256: digestOf(bytes) }
  }

  /** With its manifest it is whole: it gets its name. Throws ERR_SNAPSHOT. */
  async commit(manifest: Uint8Array): Promise<void> {
    await this.write(snapshotFiles.manifest, manifest)
    await this.#closeFiles(this.#options.durability !== 'none')
    try {
      if (this.#options.durability === 'full') await syncDirectory(this.#building)
      await this.#takeName()
      this.#isCommitted = true
      if (this.#options.durability === 'full') await syncDirectory(dirname(this.path))
    } catch (cause) {
      throw snapshotError(this.path, '', cause)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#closeFiles(false)
    if (!this.#isCommitted) await rm(this.#building, { recursive: true, force: true })
  }

  async #takeName(): Promise<void> {
    if (!this.#options.overwrite) {
      // Takes the place of an empty directory, which clients make beforehand, and of nothing else.
      await rename(this.#building, this.path)
      return
    }
    if (exchangeNames(this.#building, this.path)) {
      await rm(this.#building, { recursive: true, force: true })
      return
    }
    const old = `${this.#building}-old`
    const hadOld = await moved(this.path, old)
    try {
      await rename(this.#building, this.path)
    } catch (error) {
      if (hadOld) await rename(old, this.path)
      throw error
    }
    if (hadOld) await rm(old, { recursive: true, force: true })
  }

  async #closeFiles(isSynced: boolean): Promise<void> {
    const files = [...this.#files]
    const synced = isSynced ? await Promise.allSettled(files.map(([, file]) => file.datasync())) : []
    this.#files.clear()
    await Promise.all(files.map(([, file]) => file.close()))
    for (const [index, result] of synced.entries()) {
      if (result.status === 'rejected') throw snapshotError(this.path, files[index]?.[0] ?? '', result.reason)
    }
  }
}

let made = 0

function nextNumber(): number {
  made += 1
  return made
}

function leftoverPrefix(target: string): string {
  return `.${basename(target)}.partial-`
}

/** Only a place that is free or empty is taken, and where it was asked for, that of a snapshot. */
async function refuseOccupied(target: string, overwrite: boolean): Promise<void> {
  const entries = await namesIn(target)
  if (entries === undefined || entries.length === 0) return
  if (!overwrite) throw new Error('there is something already')
  if (!entries.includes(snapshotFiles.manifest)) throw new Error('what is there is no snapshot: it is not overwritten')
}

/** What is in a directory; undefined where there is none. */
async function namesIn(path: string): Promise<string[] | undefined> {
  try {
    return await readdir(path)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}

/** Removes what processes that are no more have left of snapshots of this name. */
async function sweep(target: string): Promise<void> {
  const prefix = leftoverPrefix(target)
  for (const name of (await namesIn(dirname(target))) ?? []) {
    if (!name.startsWith(prefix)) continue
    const pid = Number(/^\d+/.exec(name.slice(prefix.length))?.[0])
    if (!Number.isSafeInteger(pid) || isAlive(pid)) continue
    const path = join(dirname(target), name)
    // It was killed while it put a new snapshot into the place of the old one, which is whole.
    if (name.endsWith('-old') && (await namesIn(target)) === undefined) await rename(path, target)
    else await rm(path, { recursive: true, force: true })
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return hasCode(error, 'EPERM')
  }
}

/** Whether there was something to move. */
async function moved(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to)
    return true
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false
    throw error
  }
}

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r')
  await directory.sync()
}
