import { join } from 'node:path'
import { type FioJob, fioCommand, fioResult } from './fio.ts'
import { InfoClient } from './info-client.ts'
import { measureInGuest } from './measurement.ts'
import type { Samples } from './report.ts'
import { type Subject, tsvmm } from './subjects.ts'

/** What the guest's disk is measured beside, and how often in a run with and without it. */
const askedPerSecond = 1_000
const turns = 3
const secondsPerTurn = 4

/** Random reads one at a time: latency suffers first. The root disk is in the host's page cache. */
const jobOf = (name: string): FioJob => ({ name, pattern: 'randread', blockBytes: 4096, depth: 1 })

/** The guest says on its console what it will do next. */
const phases = ['ASKED-IDLE', 'QUIET', 'ASKED'] as const
type Phase = (typeof phases)[number]

const script = [
  ...['echo ASKED-IDLE', `sleep ${secondsPerTurn}`],
  ...Array.from({ length: turns }, (_, turn) => [
    ...['echo QUIET', fioCommand(jobOf(`quiet${turn}`), '/dev/vda', secondsPerTurn)],
    ...['echo ASKED', fioCommand(jobOf(`asked${turn}`), '/dev/vda', secondsPerTurn)],
  ]).flat(),
].join('\n')

/** How many times a second vm.info is answered, and what that costs a guest whose disk is busy. */
export async function benchApi(runs: number, samples: Samples): Promise<void> {
  for (let run = 0; run < runs; run += 1) {
    const { rates, output } = await askDuringScript()
    const iops = (name: string) => {
      return mean(
        Array.from({ length: turns }, (_, turn) => fioResult(output, jobOf(`${name}${turn}`)).operationsPerSecond),
      )
    }
    const [quiet, asked] = [iops('quiet'), iops('asked')]
    samples.add('api_info_rate', tsvmm.name, '1/s', 'higher', mean(rates['ASKED-IDLE']))
    samples.add('api_info_rate_beside_disk', tsvmm.name, '1/s', 'higher', mean(rates.ASKED))
    samples.add('api_disk_quiet_iops', tsvmm.name, '1/s', 'higher', quiet)
    samples.add('api_disk_asked_iops', tsvmm.name, '1/s', 'higher', asked)
    samples.add('api_disk_slowdown', tsvmm.name, '%', 'lower', 100 * (1 - asked / quiet))
  }
}

async function askDuringScript(): Promise<{ rates: Record<Phase, number[]>; output: string }> {
  const rates: Record<Phase, number[]> = { 'ASKED-IDLE': [], QUIET: [], ASKED: [] }
  let socket = ''
  const served: Subject = {
    ...tsvmm,
    command(guest, directory) {
      socket = join(directory, 'api.sock')
      return [...tsvmm.command(guest, directory), '--api-socket', socket]
    },
  }
  let client: InfoClient | undefined
  let now: Phase | undefined
  const onLine = async (line: string) => {
    const next = phases.find(phase => phase === line)
    if (next === undefined) return
    client ??= await InfoClient.connect(socket)
    if (now !== undefined) rates[now].push(await client.stop())
    now = next
    if (next === 'ASKED-IDLE') client.start()
    if (next === 'ASKED') client.start(askedPerSecond)
  }
  try {
    const output = await measureInGuest(served, `${script}\necho QUIET`, { onLine })
    return { rates, output }
  } finally {
    client?.[Symbol.dispose]()
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
}
