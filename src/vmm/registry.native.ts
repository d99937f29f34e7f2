import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod/mini'
import { addon } from '../native/addon.ts'
import { seldomChecked } from '../util/issues.ts'

/**
 * The machines of this host and user: a file each in a directory that goes with the host's run. Who has a machine holds a lock on its
 * file: where nobody does, its program is gone, whatever has its process number by now.
 */

const text = z.string().check(z.minLength(1), z.maxLength(4096))
const number = z.number().check(z.int(), z.gte(0), z.lte(Number.MAX_SAFE_INTEGER))

const entrySchema = z.object({
  pid: number,
  /** Of several machines in one process. */
  clone: z.optional(number),
  /** When the program began, in ISO 8601. */
  started: z.iso.datetime(),
  state: z.enum(['absent', 'created', 'running', 'paused', 'receiving', 'moving']),
  /** Where its API is served. */
  socket: z.optional(text),
  vcpus: z.optional(number),
  memory_bytes: z.optional(number),
  /** What it boots. */
  boots: z.optional(text),
  /** Pseudo terminals and sockets, by what of the machine is behind them. */
  consoles: z.object({ serial: z.optional(text), console: z.optional(text), 'debug-console': z.optional(text) }),
})

export type MachineEntry = z.infer<typeof entrySchema>

/** Where the entries are; undefined where this user has no such place. */
export function runtimeDirectory(environment: NodeJS.ProcessEnv = process.env): string | undefined {
  const { TSVMM_RUNTIME_DIR, XDG_RUNTIME_DIR } = environment
  if (TSVMM_RUNTIME_DIR) return TSVMM_RUNTIME_DIR
  if (process.getuid?.() === 0) return '/run/tsvmm'
  return XDG_RUNTIME_DIR ? join(XDG_RUNTIME_DIR, 'tsvmm') : undefined
}

/** The number of its process, with that of a clone behind it where there are many. */
export function nameOf({ pid, clone }: MachineEntry): string {
  return clone === undefined ? `${pid}` : `${pid}-${clone}`
}

const fileOf = (entry: MachineEntry) => `${nameOf(entry)}.json`

/** An entry, for as long as its machine is there. */
export class Registration implements Disposable {
  readonly #directory: string
  readonly #path: string
  #written = ''
  #fd: number | undefined

  /** Throws what the system says of the directory, and where it is not this user's own. */
  constructor(directory: string, entry: MachineEntry) {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const { uid } = lstatSync(directory)
    if (uid !== process.getuid?.()) throw new Error(`${directory} belongs to somebody else`)
    this.#directory = directory
    this.#path = join(directory, fileOf(entry))
    this.update(entry)
  }

  /** Takes the place of the entry in one step. At no moment is there one that is not locked. */
  update(entry: MachineEntry): void {
    const written = JSON.stringify(entry)
    if (written === this.#written) return
    const temporary = join(this.#directory, `.${fileOf(entry)}`)
    const { O_RDWR, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants
    const fd = openSync(temporary, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600)
    try {
      addon().lockFile(fd, 'exclusive')
      writeFileSync(fd, written)
      renameSync(temporary, this.#path)
    } catch (error) {
      closeSync(fd)
      throw error
    }
    this.#forget()
    this.#fd = fd
    this.#written = written
  }

  /** Idempotent. */
  [Symbol.dispose](): void {
    if (this.#fd === undefined) return
    try {
      unlinkSync(this.#path)
    } catch {
      // Somebody has tidied up there.
    }
    this.#forget()
  }

  #forget(): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
  }
}

/** The machines that are there, the oldest first. What dead programs have left is removed. */
export function registeredMachines(directory: string | undefined): MachineEntry[] {
  if (directory === undefined) return []
  return namesIn(directory)
    .flatMap(name => readEntry(join(directory, name)) ?? [])
    .toSorted((a, b) => a.started.localeCompare(b.started) || a.pid - b.pid || (a.clone ?? 0) - (b.clone ?? 0))
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).filter(name => /^\d+(-\d+)?\.json$/.test(name))
  } catch {
    // Nobody has ever had a machine here.
    return []
  }
}

/** Longer ones are none of ours. */
const maximumBytes = 64 * 1024

/** Undefined where it is gone, is none, or was left behind. */
function readEntry(path: string): MachineEntry | undefined {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch {
    return undefined
  }
  try {
    const { size, ino } = fstatSync(fd)
    if (size > maximumBytes) return undefined
    if (addon().lockFile(fd, 'shared')) {
      // Not where a live program has just put another in its place.
      if (lstatSync(path).ino === ino) unlinkSync(path)
      return undefined
    }
    return entrySchema.parse(JSON.parse(readFileSync(fd, 'utf8')), seldomChecked)
  } catch {
    return undefined
  } finally {
    closeSync(fd)
  }
}
