import { globSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename } from 'node:path'
import { parseArgs } from 'node:util'
import { execa } from 'execa'
import { labBytes } from './lib/lab/machine.ts'
import { standingOf } from './lib/stalled.ts'
import { type Counts, countGoogleTest, countTap, noCounts, sum } from './lib/test-counts.ts'
import { canVirtualize } from './lib/virtualization.ts'
import { lint } from './lint.ts'
import { chooseImages, obtainImages } from './matrix/images.ts'
import { nameOf, suiteGroups } from './matrix/plan.ts'
import { runMatrix } from './matrix/run.ts'

/**
 * All tests: lint, native (plain and under sanitizers), units with the addon on the local KVM device, and the boots, in the
 * nested lab where the CPU cannot virtualize, those of cloud images included. The last line says how many passed, failed and were skipped.
 * `--long` adds what takes long; `--only WORD` runs the stages with that word in their name.
 */
const { values } = parseArgs({ options: { long: { type: 'boolean' }, only: { type: 'string' } } })

interface Stage {
  readonly name: string
  run(): Promise<Counts>
}

/** Longer than any test may take without a word. */
const stalledMs = 20 * 60_000

/** A runner that hangs when its tests are over would take all the time there is, and nobody would know where. */
async function tap(command: string, args: readonly string[]): Promise<Counts> {
  const child = execa(command, args, {
    reject: false,
    preferLocal: true,
    stdin: 'ignore',
    stderr: 'inherit',
    buffer: true,
  })
  child.stdout.pipe(process.stdout, { end: false })
  const stalled = setTimeout(() => {
    console.log(`# ${command} says nothing any more:\n${standingOf(child.pid ?? -1).join('\n')}`)
    child.kill('SIGKILL')
  }, stalledMs)
  child.stdout.on('data', () => stalled.refresh())
  const { stdout, exitCode } = await child
  clearTimeout(stalled)
  return tapCounts(stdout, exitCode)
}

/** A runner that dies without having said which test failed has failed nevertheless. */
function tapCounts(stdout: string, exitCode: number | undefined): Counts {
  const counts = countTap(stdout)
  return exitCode !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts
}

/** Left out where threads are looked at: these have one, and take many times as long there. AddressSanitizer has them. */
const ofOneThread = '-Hostile*.NoImage*:QueueFuzzTest.*'

async function native(variant: string): Promise<Counts> {
  const built = await execa('scripts/build-native', ['--variant', variant, '--tests'], { reject: false, all: true })
  if (built.failed) {
    console.log(built.all)
    return { ...noCounts, failed: 1 }
  }
  const filter = variant === 'tsan' ? [`--gtest_filter=${ofOneThread}`] : []
  const { all, failed } = await execa(`build/${variant}/native_tests`, filter, {
    reject: false,
    all: true,
    timeout: 600_000,
  })
  if (failed) console.log(all)
  const counts = countGoogleTest(all)
  return failed && counts.failed === 0 ? { ...counts, failed: 1 } : counts
}

const guestFixtures = ['debian-kernel', 'debian-root', 'seed', 'custom-kernel', 'firmware', 'efi-disk']

async function boots(): Promise<Counts> {
  // The custom kernel is both a guest of the tests and the kernel of the lab.
  const lab = canVirtualize() ? [] : ['lab-root', 'lab-emulator']
  const made = await execa('scripts/fixtures', [...guestFixtures, ...lab], { stdio: 'inherit', reject: false })
  if (made.failed) return { ...noCounts, failed: 1 }
  const clients = await execa('scripts/build-clients', values.long ? ['--rust'] : [], {
    stdio: 'inherit',
    reject: false,
  })
  if (clients.failed) return { ...noCounts, failed: 1 }
  const ava = ['--config', 'integration/ava.config.js', '--tap', ...(values.long ? [] : ['--match', '!*long:*'])]
  return canVirtualize() ? tap('ava', ava) : bootsInLabs(['ava', ...ava])
}

/** Those that take longest, begun with so that none of them is left alone at the end. */
const longestFirst = ['repeat.long.test.ts', 'boot.test.ts', 'net.test.ts']

/** Files of these hold nothing but tests that take long: AVA calls it a failure to be left without a test. */
const longOnly = '.long.test.ts'

/** A lab keeps one core busy, so each core gets a lab of its own, which is given one file of tests after the other. */
async function bootsInLabs(command: readonly string[]): Promise<Counts> {
  const rank = (file: string) => {
    const place = longestFirst.indexOf(basename(file))
    return place < 0 ? longestFirst.length : place
  }
  const files = globSync('integration/*.test.ts')
    .filter(file => values.long || !file.endsWith(longOnly))
    .toSorted((a, b) => rank(a) - rank(b) || a.localeCompare(b))
  let total = noCounts
  const worker = async () => {
    for (let file = files.shift(); file !== undefined; file = files.shift()) {
      const counts = await bootsInLab(command, file)
      total = sum(total, counts)
    }
  }
  const labs = Math.min(availableParallelism(), Math.floor(process.availableMemory() / labBytes))
  await Promise.all(Array.from({ length: Math.max(1, labs) }, worker))
  return total
}

/** What is printed comes in one piece: several labs have something to say. */
async function bootsInLab(command: readonly string[], file: string): Promise<Counts> {
  const begun = performance.now()
  const lab = ['--timeout', values.long ? '5400' : '2400', '--', ...command, file]
  const { stdout, all, exitCode } = await execa('scripts/lab', lab, { reject: false, stdin: 'ignore', all: true })
  console.log(`# ${file} in ${((performance.now() - begun) / 1000).toFixed(0)} s\n${all}`)
  return tapCounts(stdout, exitCode)
}

/** The cells of the matrix of cloud images that have all its images and ways somewhere; results/matrix has the report. */
async function matrix(): Promise<Counts> {
  const say = (line: string) => console.log(line)
  const images = await obtainImages(await chooseImages({ isOffline: true, wanted: [], say }))
  const results = await runMatrix(suiteGroups(images), { directory: 'results/matrix', say })
  const failed = results.filter(({ error }) => error !== undefined)
  for (const { error, ...cell } of failed) console.log(`not ok ${nameOf(cell)}: ${error}`)
  return { ...noCounts, passed: results.length - failed.length, failed: failed.length }
}

const stages: readonly Stage[] = [
  { name: 'lint', run: async () => ({ ...noCounts, ...(await lint()) }) },
  { name: 'native tests', run: () => native('release') },
  { name: 'native tests with AddressSanitizer', run: () => native('asan') },
  { name: 'native tests with ThreadSanitizer', run: () => native('tsan') },
  { name: 'units', run: () => tap('ava', ['--tap']) },
  { name: 'boots', run: boots },
  { name: 'matrix', run: matrix },
]

let total = noCounts
if (values.only !== undefined && !stages.some(stage => stage.name.includes(values.only ?? ''))) {
  console.error(`no stage has ${values.only} in its name: ${stages.map(stage => stage.name).join(', ')}`)
  process.exit(2)
}
for (const stage of stages) {
  if (values.only !== undefined && !stage.name.includes(values.only)) continue
  const begun = performance.now()
  console.log(`# ${stage.name}`)
  const counts = await stage.run().catch((error: unknown) => {
    // A stage that cannot even run is one failure; the others still have their say.
    console.log(error instanceof Error ? error.message : error)
    return { ...noCounts, failed: 1 }
  })
  const seconds = ((performance.now() - begun) / 1000).toFixed(0)
  console.log(
    `# ${stage.name}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped in ${seconds} s`,
  )
  total = sum(total, counts)
}
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1
