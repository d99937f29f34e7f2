import { globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import test from 'ava'
import { execa } from 'execa'
import { promptingKernel } from '../../src/vmm/testing/prompting-guest.ts'

const root = new URL('../..', import.meta.url).pathname
const fromSources = new URL('library-from-sources.ts', import.meta.url).pathname

/** What each of docs/examples prints of a guest that any KVM can run. */
const outputs: Readonly<Record<string, RegExp>> = {
  abort: /^TimeoutError; the machine is running\n\{ kind: 'stopped' \}$/,
  clones: /^\[ 'running', 'running', 'running', 'running' \]$/,
  console: /^1\n# \n\{ kind: 'power-off' \}$/,
  events: /^loaded\nbooted\npausing\npaused\nresuming\nresumed\nit has ended: stopped$/,
  hotplug: /^\{ id: '_disk0', pciAddress: '0000:00:02.0' \}\n\[ '_disk0' \]$/,
  migration: /^it stood still for \d+ ms\n\{ kind: 'moved' \}\nthere it is running$/,
  snapshot: /^saved; it stood still for \d+ ms\nthe first machine is running\nthe second machine is running$/,
}

const place = mkdtempSync(join(tmpdir(), 'tsvmm-examples-'))
const kernel = join(place, 'kernel')
writeFileSync(kernel, promptingKernel())
test.after.always(() => rmSync(place, { recursive: true }))

for (const file of globSync('docs/examples/*.ts', { cwd: root }).toSorted()) {
  test.serial(`${file} does what it says`, async t => {
    const { all } = await execa(process.execPath, ['--import', fromSources, join(root, file), kernel], { all: true })
    t.regex(all, outputs[basename(file, '.ts')] ?? /^no output is expected of it$/)
  })
}
