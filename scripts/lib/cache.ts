import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { basename, dirname, join } from 'node:path'

/** Where everything is kept that is made once and used often; never inside the checkout. */
export function cacheDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  const { TSVMM_CACHE, XDG_CACHE_HOME } = environment
  return TSVMM_CACHE || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'tsvmm')
}

/** A short name for what `parts` say; no two different lists give the same text to the digest. */
export function contentKey(parts: readonly (string | Uint8Array)[]): string {
  const digest = createHash('sha256')
  for (const part of parts) digest.update(`${Buffer.byteLength(part)}:`).update(part)
  return digest.digest('hex').slice(0, 16)
}

/**
 * Makes `path` (a file or a folder) once: `make` fills the temporary path it is given, which is renamed when it is done.
 * A lock keeps other processes waiting meanwhile. What an interrupted run left behind is removed by the next one.
 */
export async function makeOnce(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
  if (existsSync(path)) return
  mkdirSync(dirname(path), { recursive: true })
  using _lock = await lock(join(dirname(path), `.${basename(path)}.lock`))
  if (existsSync(path)) return
  const temporary = `${path}.partial`
  rmSync(temporary, { recursive: true, force: true })
  try {
    await make(temporary)
    renameSync(temporary, path)
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}

/**
 * Node has no file locks: flock(1) holds it, for as long as the pipe to it is open, so until this process ends at most.
 * The file stays: removing it would let one process lock the old file and another a new one.
 */
async function lock(file: string): Promise<Disposable> {
  const holder = spawn('flock', ['--no-fork', file, 'sh', '-c', 'echo; exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  })
  const granted = once(holder.stdout, 'data')
  const refused = once(holder, 'exit').then(() => {
    throw new Error(`cannot lock ${file}`)
  })
  await Promise.race([granted, refused])
  refused.catch(() => {})
  return {
    [Symbol.dispose]() {
      holder.stdin.end()
    },
  }
}
