import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { execa } from 'execa'
import { stageTree } from './tree.ts'

/** Makes tsvmm_VERSION_ARCHITECTURE.deb and prints where it is (scripts/make-deb). */
const root = new URL('../../..', import.meta.url).pathname
const { values } = parseArgs({
  options: {
    out: { type: 'string', default: join(root, 'results') },
    compression: { type: 'string', default: 'xz' },
    lintian: { type: 'boolean', default: false },
  },
})
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** The same sources make the same package: dpkg-deb, too, takes its times from there. */
async function sourceDate(): Promise<Date> {
  const given = process.env['SOURCE_DATE_EPOCH']
  const { stdout } =
    given === undefined ? await execa('git', ['log', '-1', '--format=%ct'], { cwd: root }) : { stdout: given }
  return new Date(Number(stdout) * 1000)
}

await execa('node', ['scripts/prebuild.ts'], { cwd: root, stdout: process.stderr })
const { stdout: architecture } = await execa('dpkg', ['--print-architecture'])
const date = await sourceDate()
const place = mkdtempSync(join(tmpdir(), 'tsvmm-deb-'))
try {
  const tree = join(place, 'tree')
  mkdirSync(tree)
  await stageTree({ root, tree, version, architecture, date })
  mkdirSync(values.out, { recursive: true })
  const file = resolve(values.out, `tsvmm_${version}_${architecture}.deb`)
  const env = { SOURCE_DATE_EPOCH: String(date.getTime() / 1000) }
  const build = ['--root-owner-group', `-Z${values.compression}`, '--build', tree, file]
  await execa('dpkg-deb', build, { env, stdout: process.stderr })
  if (values.lintian) {
    await execa('lintian', ['--fail-on', 'error,warning', file], { stdout: process.stderr, stderr: 'inherit' })
  }
  console.log(file)
} finally {
  rmSync(place, { recursive: true })
}
