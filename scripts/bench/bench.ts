import { parseArgs } from 'node:util'
import { canVirtualize } from '../lib/virtualization.ts'
import { benchApi } from './api.ts'
import { benchBlock, blockImages } from './block.ts'
import { benchBoot } from './boot.ts'
import { benchClone } from './clone.ts'
import { benchExits } from './exits.ts'
import { debianGuest, guestFixtures, makeGuestFixtures } from './guest.ts'
import { runInLab } from './lab.ts'
import { benchMigration } from './migration.ts'
import { migrationSubjects } from './migration-subjects.ts'
import { benchNet } from './net.ts'
import { benchPhases } from './phases.ts'
import { printReport, Samples, saveReport } from './report.ts'
import { benchSnapshot } from './snapshot.ts'
import { snapshotSubjects } from './snapshot-subjects.ts'
import { benchStartup } from './startup.ts'
import { type Subject, subjects } from './subjects.ts'
import { tickingInit } from './ticks.ts'

const usage = `usage: npm run bench -- boot|block|net|snapshot|clone|migration|exits|api|startup [--runs N] [--json FILE] [--phases] [--format F] [--in-place]
  --phases    of boot: where the time of tsvmm's own boot goes
  --format    of block: ${Object.keys(blockImages).join(', ')} [raw]
  --in-place  not in the nested lab, whatever this machine's KVM is worth
Peers: Debian's QEMU, and the programs that CLOUD_HYPERVISOR and FIRECRACKER name.`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '5' },
    json: { type: 'string' },
    phases: { type: 'boolean' },
    format: { type: 'string', default: 'raw' },
    'in-place': { type: 'boolean' },
  },
})

/** Fills in samples; those that need KVM run in the nested lab where this machine's is not good for guests. */
interface Benchmark {
  readonly needsKvm: boolean
  run(runs: number, samples: Samples): Promise<void>
}

const benchmarks: Readonly<Record<string, Benchmark>> = {
  boot: {
    needsKvm: true,
    async run(runs, samples) {
      const guest = debianGuest(await guestFixtures(), 'quiet panic=-1')
      if (values.phases) await benchPhases(guest, runs, samples)
      else await benchBoot(subjects(process.env), guest, runs, samples)
    },
  },
  block: {
    needsKvm: true,
    run: (runs, samples) => benchBlock(withPci(subjects(process.env)), runs, samples, values.format),
  },
  net: { needsKvm: true, run: (runs, samples) => benchNet(withPci(subjects(process.env)), runs, samples) },
  snapshot: {
    needsKvm: true,
    async run(runs, samples) {
      const guest = debianGuest(await guestFixtures(), `quiet panic=-1 ${tickingInit}`)
      await benchSnapshot(snapshotSubjects(subjects(process.env)), guest, runs, samples)
    },
  },
  clone: {
    needsKvm: true,
    run: async (runs, samples) => benchClone(debianGuest(await guestFixtures(), 'quiet panic=-1'), runs, samples),
  },
  migration: {
    needsKvm: true,
    async run(runs, samples) {
      const fixtures = await guestFixtures()
      const guestOf = (init: string) => debianGuest(fixtures, `quiet panic=-1 ${init}`)
      await benchMigration(migrationSubjects(subjects(process.env)), guestOf, runs, samples)
    },
  },
  exits: { needsKvm: true, run: benchExits },
  api: { needsKvm: true, run: benchApi },
  startup: { needsKvm: false, run: benchStartup },
}

/** Devices are compared where they are the same to the guest. */
function withPci(all: readonly Subject[]): Subject[] {
  return all.filter(({ name }) => ['tsvmm', 'qemu-q35', 'cloud-hypervisor'].includes(name))
}

async function main(): Promise<number> {
  const [name = '', ...rest] = positionals
  const runs = Number(values.runs)
  const benchmark = benchmarks[name]
  const wrongPhases = values.phases && name !== 'boot'
  const wrongFormat = values.format !== 'raw' && (name !== 'block' || blockImages[values.format] === undefined)
  if (benchmark === undefined || rest.length > 0 || wrongPhases || wrongFormat || !Number.isInteger(runs) || runs < 1) {
    console.error(usage)
    return 2
  }
  if (benchmark.needsKvm && !values['in-place'] && !canVirtualize()) {
    await makeGuestFixtures()
    const options = [...(values.phases ? ['--phases'] : []), '--format', values.format]
    return runInLab([name, ...options], runs, values.json)
  }
  const samples = new Samples()
  await benchmark.run(runs, samples)
  const report = samples.report()
  printReport(report)
  if (values.json !== undefined) saveReport(values.json, report)
  return 0
}

process.exitCode = await main()
