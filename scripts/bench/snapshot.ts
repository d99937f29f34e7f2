import { globSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'
import type { Samples } from './report.ts'
import type { Restore, SnapshotSubject, WarmRestore } from './snapshot-subjects.ts'
import type { Guest } from './subjects.ts'
import { TickingProcess } from './ticking-process.ts'
import { longestGap } from './ticks.ts'

/** Snapshots lie where builds do: in the lab the temporary folder is memory. */
const storage = new URL('../../build', import.meta.url).pathname
/** Until the guest, and what booted it, have come to rest. */
const settleMs = 2_000

/**
 * Saves a guest that does nothing but tell the time every 10 ms, and restores it in every way that the subject has; times end
 * with the guest's next output. Every run boots anew, so that what the guest has touched is always the same.
 */
export async function benchSnapshot(
  subjects: readonly SnapshotSubject[],
  guest: Guest,
  runs: number,
  samples: Samples,
): Promise<void> {
  for (let run = 0; run < runs; run += 1) {
    for (const subject of subjects) {
      console.error(`${new Date().toISOString()} ${subject.name}`)
      const directory = mkdtempSync(join(storage, 'bench-'))
      try {
        await new Round(subject, guest, directory, samples).run()
      } finally {
        rmSync(directory, { recursive: true })
      }
    }
  }
}

/** One guest of one subject, and those restored from it. */
class Round {
  readonly #subject: SnapshotSubject
  readonly #guest: Guest
  readonly #directory: string
  readonly #samples: Samples
  #sockets = 0

  constructor(subject: SnapshotSubject, guest: Guest, directory: string, samples: Samples) {
    this.#subject = subject
    this.#guest = guest
    this.#directory = directory
    this.#samples = samples
  }

  async run(): Promise<void> {
    const saved = this.#folder('saved')
    await this.#save(saved)
    const { restores, warm } = this.#subject
    for (const restore of restores) {
      // What the one before has written must not be written back while this one is measured.
      await execa('sync')
      this.#add('restore_time', await this.#restore(restore, saved), restore.name)
    }
    await execa('sync')
    if (warm !== undefined) await this.#restoreWarm(warm, saved)
  }

  async #save(saved: string): Promise<void> {
    const { name, command, control, hasZstd } = this.#subject
    const socket = this.#socket()
    await using vmm = new TickingProcess(name, command(this.#guest, this.#directory, socket))
    await vmm.ticks.next()
    using driver = await control(socket)
    await delay(settleMs)
    await execa('sync')
    const begunMs = performance.now()
    await driver.pause()
    const saveMs = await timed(() => driver.save(saved, 'image'))
    await driver.resume()
    await vmm.ticks.next()
    await delay(settleMs / 2)
    const gap = longestGap(vmm.ticks.all, begunMs)
    this.#add('snapshot_time', saveMs)
    this.#add('snapshot_standstill', gap.hostMs)
    this.#add('snapshot_pause', gap.guestMs)
    const bytes = bytesOnDisk(saved)
    this.#samples.add('snapshot_bytes_image', name, 'bytes', 'lower', bytes)
    // Others have one form: that is what our compressed one is compared with.
    const compressed = hasZstd === true ? this.#folder('zstd') : undefined
    if (compressed !== undefined) {
      await driver.pause()
      this.#add('snapshot_zstd_time', await timed(() => driver.save(compressed, 'zstd')))
    }
    const compressedBytes = compressed === undefined ? bytes : bytesOnDisk(compressed)
    this.#samples.add('snapshot_bytes_zstd', name, 'bytes', 'lower', compressedBytes)
  }

  async #restore({ name, command, drive }: Restore, saved: string): Promise<number> {
    const socket = this.#socket()
    return await timed(async end => {
      await using vmm = new TickingProcess(name, command(this.#guest, saved, socket))
      const ticked = vmm.ticks.next()
      await Promise.all([ticked.then(end), drive?.(socket, saved)])
    })
  }

  async #restoreWarm(warm: WarmRestore, saved: string): Promise<void> {
    const { name } = this.#subject
    const socket = this.#socket()
    await using vmm = new TickingProcess(name, warm.command(socket))
    using http = await warm.ready(socket)
    await delay(settleMs / 2)
    const restore = () => {
      return timed(async end => {
        await Promise.all([vmm.ticks.next().then(end), warm.restore(http, saved)])
      })
    }
    const first = await restore()
    this.#add('restore_time_serving', first)
    if (warm.forget === undefined) {
      this.#add('restore_time_warm', first)
      return
    }
    await warm.forget(http)
    await delay(settleMs / 4)
    this.#add('restore_time_warm', await restore())
  }

  #add(figure: string, ms: number, subject = this.#subject.name): void {
    this.#samples.add(figure, subject, 'ms', 'lower', ms)
  }

  #folder(name: string): string {
    const path = join(this.#directory, name)
    mkdirSync(path)
    return path
  }

  #socket(): string {
    this.#sockets += 1
    return join(this.#directory, `socket${this.#sockets}`)
  }
}

/** Milliseconds until the action ends, or until it says so. */
async function timed(action: (end: () => void) => Promise<void>): Promise<number> {
  const begunMs = performance.now()
  let endedMs: number | undefined
  await action(() => {
    endedMs ??= performance.now()
  })
  return (endedMs ?? performance.now()) - begunMs
}

/** Holes take nothing. st_blocks counts in 512 bytes, whatever the file system. */
function bytesOnDisk(directory: string): number {
  return globSync('**', { cwd: directory }).reduce((sum, name) => sum + statSync(join(directory, name)).blocks * 512, 0)
}
