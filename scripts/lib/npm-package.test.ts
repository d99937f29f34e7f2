import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import test from 'ava'
import { type ExecaError, execa } from 'execa'
import { promptingKernel } from '../../src/vmm/testing/prompting-guest.ts'

// What somebody has who runs `npm install tsvmm` where there is Node and no compiler.
const root = new URL('../..', import.meta.url).pathname
const place = mkdtempSync(join(tmpdir(), 'tsvmm-npm-'))
test.after.always(() => rmSync(place, { recursive: true }))
const project = join(place, 'project')
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** Runs a command that finds Node and nothing else. */
async function inProject(command: string, ...args: readonly string[]): Promise<string> {
  const env = { PATH: join(place, 'bin'), HOME: place }
  const { stdout } = await execa(command, args, { cwd: project, env, extendEnv: false })
  return stdout
}

let paths: readonly string[] = []

test.before('it is packed and installed', async t => {
  t.timeout(300_000)
  mkdirSync(join(place, 'bin'))
  symlinkSync(process.execPath, join(place, 'bin/node'))
  mkdirSync(project)
  const packed = await execa('npm', ['pack', '--json', '--pack-destination', place], { cwd: root, preferLocal: true })
  const [{ filename, files }] = JSON.parse(packed.stdout)
  paths = files.map(({ path }: { path: string }) => path)
  const dependencies = { tsvmm: `../${filename}` }
  writeFileSync(join(project, 'package.json'), JSON.stringify({ type: 'module', dependencies }))
  const npm =
    process.env['PATH']
      ?.split(delimiter)
      .map(folder => join(folder, 'npm'))
      .find(path => existsSync(path)) ?? 'npm'
  const install = [realpathSync(npm), 'install', '--prefer-offline', '--no-audit', '--no-fund']
  await execa(process.execPath, install, { cwd: project, env: { PATH: join(place, 'bin') } })
  cpSync(join(root, 'docs/examples'), project, { recursive: true })
})

test.serial('it has what is needed, with its licences, and nothing else', t => {
  const kinds = paths.map(path =>
    path.replace(/^dist\/types\/.+\.d\.ts$/, 'types').replace(/^dist\/[\w.-]+\.js$/, 'code'),
  )
  const others = ['CHANGELOG.md', 'LICENSE', 'README.md', 'dist/NOTICES', 'dist/tsvmm.1', 'package.json']
  const addon = ['prebuilds/linux-x64/NOTICES', 'prebuilds/linux-x64/tsvmm.node']
  t.deepEqual([...new Set(kinds)].toSorted(), [...others, ...addon, 'code', 'types'].toSorted())
})

test.serial('the program runs', async t => {
  t.is(await inProject('node_modules/.bin/tsvmm', '--version'), `tsvmm v${version}`)
})

test.serial('the library boots a machine', async t => {
  const kernel = join(place, 'kernel')
  writeFileSync(kernel, promptingKernel())
  t.is(await inProject('node', 'console.ts', kernel), "1\n# \n{ kind: 'power-off' }")
})

test.serial('its types are those of the library', async t => {
  for (const name of ['@types/node', 'undici-types']) {
    mkdirSync(join(project, 'node_modules/@types'), { recursive: true })
    symlinkSync(join(root, 'node_modules', name), join(project, 'node_modules', name))
  }
  const compilerOptions = { ...strict, types: ['node'] }
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions }))
  writeFileSync(join(project, 'wrong.ts'), "import { Vm } from 'tsvmm'\nawait Vm.create({ payload: { kernel: 1 } })\n")
  const compiled = inProject('node', join(root, 'node_modules/typescript/bin/tsc'), '-p', '.')
  const { stdout } = await t.throwsAsync<ExecaError>(compiled)
  // The examples are right.
  t.regex(String(stdout), /^wrong\.ts\(2,\d+\): error TS2322: Type 'number' is not assignable to type 'string'\.$/)
})

const strict = { target: 'es2024', lib: ['esnext'], module: 'nodenext', strict: true, noEmit: true }
