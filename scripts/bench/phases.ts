import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GuestConsole } from '../../integration/harness/guest-console.ts'
import type { Samples } from './report.ts'
import { type Guest, tsvmm } from './subjects.ts'

/** Where the time from process start to the guest's init goes, in the order in which it does. */
export async function benchPhases(guest: Guest, runs: number, samples: Samples): Promise<void> {
  for (let run = 0; run < runs; run += 1) {
    for (const { name, ms } of phasesOf(await tracedBoot(guest))) {
      samples.add(`boot_phase_${name}`, 'tsvmm', 'ms', 'lower', ms)
    }
  }
}

/** What one boot tells; times of day in milliseconds, those of the guest in seconds since its kernel began. */
export interface BootTrace {
  readonly startedAt: number
  readonly readyAt: number
  /** What tsvmm -v wrote. */
  readonly log: string
  readonly guestInit: number
  readonly guestReady: number
}

async function tracedBoot(guest: Guest): Promise<BootTrace> {
  const directory = mkdtempSync(join(tmpdir(), 'tsvmm-bench-'))
  const [program = '', ...args] = tsvmm.command(
    { ...guest, commandLine: `${guest.commandLine} tsvmm.run=commands` },
    directory,
  )
  const startedAt = timeOfDay()
  const child = spawn(program, [...args, '-v'], { stdio: ['pipe', 'pipe', 'pipe'] })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    log += chunk
  })
  try {
    const terminal = new GuestConsole(child.stdout, child.stdin)
    const [, guestReady] = await terminal.waitFor(/TSVMM-INIT-READY ([\d.]+)/)
    const readyAt = timeOfDay()
    await terminal.waitFor(/tsvmm# $/)
    // The kernel's own clock says when it was done; to print it at once would cost the time that is measured.
    terminal.type("dmesg | grep 'Run /init as'\n")
    const [, guestInit] = await terminal.waitFor(/\[ *([\d.]+)\] Run/)
    return { startedAt, readyAt, log, guestInit: Number(guestInit), guestReady: Number(guestReady) }
  } catch (cause) {
    throw new Error(`tsvmm did not boot:\n${log}`, { cause })
  } finally {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    rmSync(directory, { recursive: true })
  }
}

function timeOfDay(): number {
  return performance.timeOrigin + performance.now()
}

/** Throws where the log lacks a line that a phase ends with. */
export function phasesOf({
  startedAt,
  readyAt,
  log,
  guestInit,
  guestReady,
}: BootTrace): { name: string; ms: number }[] {
  const start = /started at (\S+), runtime ([\d.]+) ms, modules ([\d.]+) ms/.exec(log)
  if (start === null) throw new Error(`the log has no start:\n${log}`)
  const origin = Date.parse(start[1] ?? '') - startedAt
  const logged = (event: string) => {
    const line = new RegExp(`^tsvmm: ([\\d.]+)s: INFO: ${event}`, 'm').exec(log)
    if (line === null) throw new Error(`the log has no "${event}":\n${log}`)
    return origin + Number(line[1]) * 1000
  }
  const initAt = readyAt - startedAt - (guestReady - guestInit) * 1000
  const ends: [string, number][] = [
    ['process', origin],
    ['runtime', origin + Number(start[2])],
    ['modules', origin + Number(start[3])],
    ['config', logged('started at')],
    ['create', logged('the machine is built')],
    ['load', logged('the kernel is loaded')],
    ['start', logged('the machine runs')],
    ['guest_kernel', initAt],
    ['guest_init', readyAt - startedAt],
  ]
  return ends.map(([name, end], index) => ({ name, ms: end - (ends[index - 1]?.[1] ?? 0) }))
}
