import { spawnSync } from 'node:child_process'
import type { Samples } from './report.ts'

const program = new URL('../../dist/tsvmm', import.meta.url).pathname

const commands = [
  { subject: 'tsvmm', command: program, args: ['--version'] },
  { subject: 'node', command: process.execPath, args: ['-e', '1'] },
] as const

/** How long `--version` takes, beside a Node process that does nothing. */
export async function benchStartup(runs: number, samples: Samples): Promise<void> {
  for (let run = 0; run < runs; run += 1) {
    for (const { subject, command, args } of commands) {
      const begun = process.hrtime.bigint()
      const { status } = spawnSync(command, args, { stdio: 'ignore' })
      if (status !== 0) throw new Error(`${subject} ended with ${status}`)
      samples.add('version_time', subject, 'ms', 'lower', Number(process.hrtime.bigint() - begun) / 1e6)
    }
  }
}
