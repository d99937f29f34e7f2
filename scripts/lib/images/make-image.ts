import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fixtureNamed } from '../fixtures/catalog.ts'
import { FixtureStore } from '../fixtures/store.ts'

const images = ['ubuntu-like', 'fedora-like']
const usage = `usage: scripts/make-image ${images.join('|')} [OUT]
Makes a cloud image from packages of this machine's Debian, where it is not in the cache yet, and prints where it is, or copies
it to OUT: guests write to their disks, and the one in the cache is for all.`

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { help: { type: 'boolean', short: 'h' } },
  })
  const [name, out, ...more] = positionals
  if (values.help) return console.log(usage)
  if (name === undefined || !images.includes(name) || more.length > 0) {
    console.error(usage)
    process.exitCode = 2
    return
  }
  const image = join(await new FixtureStore().make(fixtureNamed(name)), 'disk.raw')
  if (out === undefined) console.log(image)
  else execFileSync('cp', ['--sparse=always', '--reflink=auto', image, out])
}

try {
  await main()
} catch (error) {
  console.error(`make-image: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
}
