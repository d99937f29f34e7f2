import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ApiClient } from '../../integration/harness/api-client.ts'
import { GuestConsole } from '../../integration/harness/guest-console.ts'
import { privateBytesByFile } from './process-memory.ts'
import type { Samples } from './report.ts'
import { type Guest, tsvmm } from './subjects.ts'

const mebibyte = 1024 * 1024
const clones = 50
/** Until the guests have noticed that they are others. */
const settleMs = 3_000
const timeoutMs = 300_000

/** Many clones of one machine that has booted, in one process: how long until all of them run, and what each costs. */
export async function benchClone(guest: Guest, runs: number, samples: Samples): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'bench-'))
  try {
    const snapshot = join(directory, 'snapshot')
    await takeSnapshot(guest, directory, snapshot)
    for (let run = 0; run < runs; run += 1) {
      const { timeMs, inFile, elsewhere } = await cloneOnce(snapshot)
      samples.add(`clone${clones}_time`, 'tsvmm', 'ms', 'lower', timeMs)
      samples.add('clone_private_memory', 'tsvmm', 'MiB', 'lower', elsewhere / clones / mebibyte)
      samples.add('clone_changed_memory', 'tsvmm', 'MiB', 'lower', inFile / clones / mebibyte)
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

async function takeSnapshot(guest: Guest, directory: string, snapshot: string): Promise<void> {
  const [program = '', ...args] = tsvmm.command(guest, directory)
  const socket = join(directory, 'api.sock')
  const child = spawn(program, [...args, '--api-socket', socket], { stdio: ['pipe', 'pipe', 'inherit'] })
  try {
    await new GuestConsole(child.stdout, child.stdin).waitFor(/TSVMM-INIT-READY/)
    await new ApiClient(socket).change('/vm.snapshot', { destination_url: `file://${snapshot}` })
  } finally {
    await end(child)
  }
}

async function cloneOnce(snapshot: string): Promise<{ timeMs: number; inFile: number; elsewhere: number }> {
  const program = new URL('../../dist/tsvmm', import.meta.url).pathname
  const args = ['restore', snapshot, '--clone', String(clones), '--serial', 'null', '-v']
  const start = performance.now()
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  try {
    const said = new GuestConsole(child.stderr, process.stdout)
    await said.waitFor(new RegExp(`${clones} clones run\\n`), timeoutMs)
    const timeMs = performance.now() - start
    await delay(settleMs)
    return { timeMs, ...privateBytesByFile(child.pid ?? 0, join(snapshot, 'memory.img')) }
  } finally {
    await end(child)
  }
}

async function end(child: ReturnType<typeof spawn>): Promise<void> {
  child.kill('SIGKILL')
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}
