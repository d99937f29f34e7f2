import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { privateBytesBeyondRam } from './process-memory.ts'
import type { Samples } from './report.ts'
import type { Guest, Subject } from './subjects.ts'

const mebibyte = 1024 * 1024
const bootTimeoutMs = 120_000
/** Long enough for the guest to have settled, so that set-up garbage of the VMM has had its chance to go. */
const settleMs = 1_000

/** Process start to the marker that the guest's init prints, and what the process then holds beyond guest RAM. */
export async function benchBoot(
  subjects: readonly Subject[],
  guest: Guest,
  runs: number,
  samples: Samples,
): Promise<void> {
  for (let run = 0; run < runs; run += 1) {
    for (const subject of subjects) {
      const { bootMs, privateBytes } = await bootOnce(subject, guest)
      samples.add('boot_time', subject.name, 'ms', 'lower', bootMs)
      samples.add('private_memory', subject.name, 'MiB', 'lower', privateBytes / mebibyte)
    }
  }
}

async function bootOnce(subject: Subject, guest: Guest): Promise<{ bootMs: number; privateBytes: number }> {
  const directory = mkdtempSync(join(tmpdir(), 'bench-'))
  const [program = '', ...args] = subject.command(guest, directory)
  const start = process.hrtime.bigint()
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  try {
    await marker(child, subject.name)
    const bootMs = Number(process.hrtime.bigint() - start) / 1e6
    await new Promise(resolve => setTimeout(resolve, settleMs))
    return { bootMs, privateBytes: privateBytesBeyondRam(child.pid ?? 0, guest.memoryMib * mebibyte) }
  } finally {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    rmSync(directory, { recursive: true })
  }
}

function marker(child: ChildProcess, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = ''
    const timer = setTimeout(
      () => reject(new Error(`${name}: no marker in ${bootTimeoutMs} ms:\n${text}`)),
      bootTimeoutMs,
    )
    const collect = (chunk: Buffer) => {
      text += chunk.toString('latin1')
      if (!text.includes('TSVMM-INIT-READY')) return
      clearTimeout(timer)
      resolve()
    }
    child.stdout?.on('data', collect)
    child.stderr?.on('data', collect)
    child.on('error', reject)
    child.on('exit', code => {
      clearTimeout(timer)
      reject(new Error(`${name} ended with ${code}:\n${text}`))
    })
  })
}
