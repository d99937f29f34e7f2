import { createHash } from 'node:crypto'
import { chmodSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { build } from 'esbuild'
import { execa } from 'execa'
import { builtinModules } from './lib/builtin-modules.ts'
import { manualPage } from './lib/manual.ts'
import { bundledNotices } from './lib/notices.ts'
import { makeStartupSnapshot } from './lib/startup-snapshot.ts'

/**
 * Bundles the program and the library into dist/, with the library's types, the manual page, the licences of what is bundled and
 * the snapshot that the program starts from.
 * scripts/build-native comes first. `--if-changed` does nothing where the sources are those of the last time.
 */
const root = new URL('..', import.meta.url).pathname
const keyFile = `${root}dist/.key`

function sourcesKey(): string {
  const hash = createHash('sha256').update(`${process.execPath} ${process.version}\0`)
  const files = [
    'package-lock.json',
    'package.json',
    'scripts/bundle.ts',
    'scripts/lib/builtin-modules.ts',
    'scripts/lib/manual.ts',
    'scripts/lib/notices.ts',
    'scripts/lib/startup-snapshot.ts',
    'build/tsvmm',
    ...globSync('src/**/*.ts', { cwd: root }),
  ]
  for (const file of files.filter(each => !each.endsWith('.test.ts')).toSorted()) {
    hash.update(`${file}\0`).update(readFileSync(`${root}${file}`))
  }
  return hash.digest('hex')
}

function isUpToDate(key: string): boolean {
  try {
    return readFileSync(keyFile, 'utf8') === key
  } catch {
    return false
  }
}

const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'))

async function bundle(): Promise<void> {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { tsvmm: 'src/cli/tsvmm.ts', index: 'src/index.ts', 'tls-worker': 'src/migration/tls-worker.ts' },
    outdir: 'dist',
    bundle: true,
    splitting: true,
    metafile: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    define: { TSVMM_VERSION: JSON.stringify(version) },
    plugins: [builtinModules],
    logLevel: 'warning',
  })
  chmodSync(`${root}dist/tsvmm.js`, 0o755)
  writeFileSync(`${root}dist/NOTICES`, bundledNotices(root, Object.keys(metafile.inputs)))
  // Chunks are named by their content: those of earlier builds are nobody's any more.
  const made = new Set(Object.keys(metafile.outputs).map(path => basename(path)))
  for (const file of globSync('*.js', { cwd: `${root}dist` })) {
    if (!made.has(file)) rmSync(`${root}dist/${file}`)
  }
}

async function declareTypes(): Promise<void> {
  rmSync(`${root}dist/types`, { recursive: true, force: true })
  await execa('tsc', ['-p', 'tsconfig.types.json'], { cwd: root, preferLocal: true, stdio: 'inherit' })
}

const key = sourcesKey()
if (process.argv.includes('--if-changed') && isUpToDate(key)) process.exit()
mkdirSync(`${root}dist`, { recursive: true })
rmSync(keyFile, { force: true })
writeFileSync(`${root}dist/tsvmm.1`, manualPage(version))
const { execPath: node } = process
await Promise.all([
  bundle(),
  declareTypes(),
  makeStartupSnapshot({ root, version, node, dist: `${root}dist`, nodeAtStart: node }),
])
writeFileSync(keyFile, key)
