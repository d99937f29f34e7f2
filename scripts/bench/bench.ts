import { parseArgs } from 'node:util'
import { benchBoot } from './boot.ts'
import { debianGuest } from './guest.ts'
import { runInLab } from './lab.ts'
import { printReport, Samples, saveReport } from './report.ts'
import { benchStartup } from './startup.ts'
import { subjects } from './subjects.ts'

const usage = `usage: npm run bench -- boot|startup [--runs N] [--json FILE]
Peers: Debian's QEMU, and the programs that CLOUD_HYPERVISOR and FIRECRACKER name.`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '5' },
    json: { type: 'string' },
    'in-place': { type: 'boolean' },
  },
})

async function main(): Promise<number> {
  const [name] = positionals
  const runs = Number(values.runs)
  if (name === undefined || !['boot', 'startup'].includes(name) || !Number.isInteger(runs) || runs < 1) {
    console.error(usage)
    return 2
  }
  const samples = new Samples()
  if (name === 'startup') {
    benchStartup(runs, samples)
  } else if (values['in-place']) {
    await benchBoot(subjects(process.env), debianGuest('quiet panic=-1'), runs, samples)
  } else {
    return runInLab(name, runs, values.json)
  }
  const report = samples.report()
  printReport(report)
  if (values.json !== undefined) saveReport(values.json, report)
  return 0
}

process.exitCode = await main()
