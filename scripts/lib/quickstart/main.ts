import { execa } from 'execa'
import { fixtureNamed } from '../fixtures/catalog.ts'
import { FixtureStore } from '../fixtures/store.ts'
import { canVirtualize } from '../virtualization.ts'
import { runHere } from './here.ts'

/** What a newcomer runs first. In the lab it is run again with --in-place. */
const isInPlace = process.argv.includes('--in-place')
const guestFixtures = ['debian-kernel', 'debian-root', 'seed']

async function makeGuest(): Promise<string> {
  const store = new FixtureStore()
  for (const name of guestFixtures) {
    const fixture = fixtureNamed(name)
    if (!store.has(fixture)) console.log(`quickstart: making ${name}, once`)
    await store.make(fixture)
  }
  return store.guestFolder()
}

/** The same in the nested lab; a terminal's keys are handed through. */
async function runInLab(isTerminal: boolean): Promise<number> {
  console.log('quickstart: this CPU offers no virtualization; booting the nested lab, where it does')
  const command = ['node', 'scripts/lib/quickstart/main.ts', '--in-place', ...(isTerminal ? ['--interactive'] : [])]
  const flags = isTerminal ? ['--interactive'] : []
  if (isTerminal) process.stdin.setRawMode(true)
  try {
    const lab = await execa('scripts/lab', ['--kernel', 'cloud', ...flags, '--', ...command], {
      stdio: 'inherit',
      reject: false,
    })
    return lab.exitCode ?? 1
  } finally {
    if (isTerminal) process.stdin.setRawMode(false)
  }
}

async function main(): Promise<number> {
  const isTerminal = process.stdin.isTTY && process.stdout.isTTY
  if (isInPlace) return runHere(process.env['TSVMM_FIXTURES'] ?? '', process.argv.includes('--interactive'))
  const folder = await makeGuest()
  return canVirtualize() ? runHere(folder, isTerminal) : runInLab(isTerminal)
}

process.exitCode = await main()
