import { parseArgs } from 'node:util'
import { execa } from 'execa'
import { type Counts, countGoogleTest, countTap, noCounts, sum } from './lib/test-counts.ts'
import { canVirtualize } from './lib/virtualization.ts'
import { lint } from './lint.ts'

/**
 * All tests: lint, native (plain and under sanitizers), units with the addon on the local KVM device, and the boots, in the
 * nested lab where the CPU cannot virtualize. The last line says how many passed, failed and were skipped.
 * `--long` adds what takes long; `--only WORD` runs the stages with that word in their name.
 */
const { values } = parseArgs({ options: { long: { type: 'boolean' }, only: { type: 'string' } } })

interface Stage {
  readonly name: string
  run(): Promise<Counts>
}

async function tap(command: string, args: readonly string[]): Promise<Counts> {
  const child = execa(command, args, {
    reject: false,
    preferLocal: true,
    stdin: 'ignore',
    stderr: 'inherit',
    buffer: true,
  })
  child.stdout?.pipe(process.stdout, { end: false })
  const { stdout, exitCode } = await child
  const counts = countTap(stdout)
  // A runner that dies without having said which test failed has failed nevertheless.
  return exitCode !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts
}

async function native(variant: string): Promise<Counts> {
  const built = await execa('scripts/build-native', ['--variant', variant, '--tests'], { reject: false, all: true })
  if (built.failed) {
    console.log(built.all)
    return { ...noCounts, failed: 1 }
  }
  const { all, failed } = await execa(`build/${variant}/native_tests`, [], {
    reject: false,
    all: true,
    timeout: 600_000,
  })
  if (failed) console.log(all)
  const counts = countGoogleTest(all)
  return failed && counts.failed === 0 ? { ...counts, failed: 1 } : counts
}

const guestFixtures = ['debian-kernel', 'debian-root', 'seed', 'custom-kernel']

async function boots(): Promise<Counts> {
  // The custom kernel is both a guest of the tests and the kernel of the lab.
  const lab = canVirtualize() ? [] : ['lab-root', 'lab-emulator']
  const made = await execa('scripts/fixtures', [...guestFixtures, ...lab], { stdio: 'inherit', reject: false })
  if (made.failed) return { ...noCounts, failed: 1 }
  const files = values.long ? [] : ['--match', '!*long:*']
  const ava = ['--config', 'integration/ava.config.js', '--tap', ...files]
  if (canVirtualize()) return tap('ava', ava)
  return tap('scripts/lab', ['--timeout', values.long ? '5400' : '2400', '--', 'ava', ...ava])
}

const stages: readonly Stage[] = [
  { name: 'lint', run: async () => ({ ...noCounts, ...(await lint()) }) },
  { name: 'native tests', run: () => native('release') },
  { name: 'native tests with AddressSanitizer', run: () => native('asan') },
  { name: 'native tests with ThreadSanitizer', run: () => native('tsan') },
  { name: 'units', run: () => tap('ava', ['--tap']) },
  { name: 'boots', run: boots },
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
