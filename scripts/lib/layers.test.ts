import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test from 'ava'
import { execa } from 'execa'

const root = new URL('../..', import.meta.url).pathname

/** What the layer rules say of a tree with just these files. */
async function violations(files: Readonly<Record<string, string>>): Promise<string[]> {
  const directory = mkdtempSync(join(tmpdir(), 'tsvmm-layers-'))
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(directory, dirname(path)), { recursive: true })
      writeFileSync(join(directory, path), text)
    }
    for (const name of ['tsconfig.json', '.dependency-cruiser.cjs', 'package.json', 'node_modules']) {
      symlinkSync(join(root, name), join(directory, name))
    }
    const depcruise = join(root, 'node_modules/.bin/depcruise')
    const { stdout } = await execa(depcruise, ['--output-type', 'json', 'src'], { cwd: directory, reject: false })
    const report: { summary: { violations: { rule: { name: string } }[] } } = JSON.parse(stdout)
    return report.summary.violations.map(({ rule }) => rule.name)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const leaf = 'export const leaf: number = 1\n'

test('an import along the layers is allowed', async t => {
  const use = "import { leaf } from '../util/leaf.ts'\nexport const twice = 2 * leaf\n"
  t.deepEqual(await violations({ 'src/util/leaf.ts': leaf, 'src/bus/use.ts': use }), [])
})

test('an import against the layers is refused, one of a type too', async t => {
  const use = "import { leaf } from '../config/leaf.ts'\nexport const twice = 2 * leaf\n"
  t.deepEqual(await violations({ 'src/config/leaf.ts': leaf, 'src/devices/use.ts': use }), ['devices-imports'])
  const useType = "import type { Leaf } from '../machine/leaf.ts'\nexport type Twice = [Leaf, Leaf]\n"
  const type = 'export type Leaf = string\n'
  t.deepEqual(await violations({ 'src/machine/leaf.ts': type, 'src/state/use.ts': useType }), ['state-imports'])
})

test('only native files see the addon', async t => {
  const use = "import { leaf } from '../native/leaf.ts'\nexport const twice = 2 * leaf\n"
  const found = await violations({
    ...{ 'src/native/leaf.ts': leaf, 'src/memory/use.ts': use, 'src/memory/fine.native.ts': use },
  })
  t.deepEqual(found, ['only-native-files-see-the-addon'])
})

test('a cycle is refused', async t => {
  const found = await violations({
    'src/bus/a.ts': "import { b } from './b.ts'\nexport const a = () => b\n",
    'src/bus/b.ts': "import { a } from './a.ts'\nexport const b = () => a\n",
  })
  t.true(found.includes('no-cycles'), found.join())
})
