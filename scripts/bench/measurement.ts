import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { guestFixtures, measuringGuest } from './guest.ts'
import type { Guest, Subject } from './subjects.ts'

const sectorBytes = 512
const timeoutMs = 300_000

interface MeasureOptions {
  /** Adds disks and cards. */
  extend?(guest: Guest): Guest
  /** Called with what the guest prints, line by line; the next line waits for it. */
  onLine?(line: string): Promise<void>
}

/** Boots a guest that runs `script` and returns what that printed. */
export async function measureInGuest(
  subject: Subject,
  script: string,
  { extend = guest => guest, onLine = async () => {} }: MeasureOptions,
): Promise<string> {
  // Minutes pass before there is a table to see.
  console.error(`${new Date().toISOString()} ${subject.name}`)
  const directory = mkdtempSync(join(tmpdir(), 'tsvmm-bench-'))
  try {
    const disk = join(directory, 'script')
    writeFileSync(disk, asDisk(script))
    const guest = extend(measuringGuest(await guestFixtures(), disk))
    return await consoleOutput(subject, subject.command(guest, directory), onLine)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** A shell reads newlines to the end of the last sector. */
function asDisk(script: string): string {
  return script.padEnd(Math.ceil(script.length / sectorBytes) * sectorBytes, '\n')
}

async function consoleOutput(
  subject: Subject,
  [program = '', ...args]: readonly string[],
  onLine: (line: string) => Promise<void>,
): Promise<string> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  const ended = Promise.withResolvers<string>()
  let text = ''
  let lines = Promise.resolve()
  let complaints = ''
  const fail = (what: string) => ended.reject(new Error(`${subject.name} ${what}:\n${text}\n${complaints}`))
  const timer = setTimeout(fail, timeoutMs, `had not finished after ${timeoutMs} ms`)
  child.stdout.setEncoding('latin1').on('data', (chunk: string) => {
    const start = text.lastIndexOf('\n') + 1
    text += chunk.replaceAll('\r', '')
    const whole = text.slice(start).split('\n').slice(0, -1)
    for (const line of whole) lines = lines.then(() => onLine(line))
    lines.catch(ended.reject)
    const measured = measuredText(text)
    if (measured?.status === 0) lines.then(() => ended.resolve(measured.output), ended.reject)
    else if (measured !== undefined) fail(`ran a script that ended with ${measured.status}`)
    else if (text.includes('end Kernel panic')) fail('ran a kernel that panicked')
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    complaints += chunk
  })
  child.on('error', ended.reject)
  child.on('exit', code => fail(`ended with ${code} before its guest had measured`))
  try {
    return await ended.promise
  } finally {
    clearTimeout(timer)
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  }
}

/** What stands between the two lines that bench-init prints, once the second of them is whole. */
export function measuredText(text: string): { readonly output: string; readonly status: number } | undefined {
  const match = /MEASURING-BEGINS\n([\s\S]*?)^MEASURING-ENDED (\d+)\n/m.exec(text)
  return match === null ? undefined : { output: match[1] ?? '', status: Number(match[2]) }
}
