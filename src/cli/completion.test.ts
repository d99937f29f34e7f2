import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { execa } from 'execa'
import { completionScript, completionsOf, shells } from './completion.ts'
import { createProgram } from './program.ts'

const of = (...words: string[]) => completionsOf(createProgram(), words)
const node = process.execPath
const program = new URL('./tsvmm.ts', import.meta.url).pathname

test('flags and commands by their beginnings', t => {
  t.deepEqual(of('--api'), ['--api-socket'])
  t.deepEqual(of('--api-socket', 's', 'pow'), ['power-button'])
  t.deepEqual(of('snapshot', 'in'), ['inspect'])
  t.deepEqual(of('ping', '--j'), ['--json'])
  t.false(of('--').includes('--watchdog'), 'not supported yet')
  t.true(of('').includes('restore'))
})

test('keys that are not there yet, and the values that a key can have', t => {
  t.deepEqual(of('--memory', 'pre'), ['prefault='])
  t.deepEqual(of('--memory', 'size=1G,siz'), [])
  t.deepEqual(of('--memory', 'size=1G,shared=o'), ['size=1G,shared=on', 'size=1G,shared=off'])
  t.deepEqual(of('--disk', 'path=a', 'path=b,image_type=q'), ['path=b,image_type=qcow2'])
  t.deepEqual(of('--disk', 'path=a', '--memory', 'th'), ['thp='])
  t.deepEqual(of('--disk=path=a,spa'), ['--disk=path=a,sparse='])
  t.deepEqual(of('--api-socket', 's', 'add-disk', 'reado'), ['readonly='])
  t.deepEqual(of('--serial', 'n'), ['null'])
  t.deepEqual(of('--serial', 's'), ['socket='])
  t.deepEqual(of('--console', 's'), [])
  t.deepEqual(of('--cpus', 'boot='), [])
})

test('files, directories with a slash, hidden ones when asked for', t => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-completion-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  mkdirSync(join(folder, 'images'))
  for (const name of ['initrd', '.hidden']) writeFileSync(join(folder, name), '')
  const at = (...names: string[]) => names.map(name => `${folder}/${name}`)
  t.deepEqual(of('--kernel', `${folder}/`), at('images/', 'initrd'))
  t.deepEqual(of('--kernel', `${folder}/.h`), at('.hidden'))
  t.deepEqual(
    of('--disk', `path=${folder}/im`),
    at('images/').map(path => `path=${path}`),
  )
  t.deepEqual(of('--kernel', `${folder}/nowhere/x`), [])
  t.deepEqual(of('snapshot', 'verify', `${folder}/im`), at('images/'))
})

for (const shell of shells) {
  test(`what ${shell} is to source is printed`, async t => {
    const { stdout } = await execa(node, [program, 'completion', shell])
    t.is(`${stdout}\n`, completionScript(shell))
  })
}

test('an unknown shell is wrong usage', async t => {
  const { stderr, exitCode } = await execa(node, [program, 'completion', 'tcsh'], { reject: false })
  t.is(stderr, 'tsvmm: error: completion: tcsh is not one of bash, zsh, fish')
  t.is(exitCode, 2)
})

test('bash completes words with = and the keys in them', async t => {
  const script = `tsvmm() { ${node} ${program} "$@"; }
    ${completionScript('bash')}
    completes() {
      COMP_LINE=$1; COMP_POINT=\${#1}; COMPREPLY=(); _tsvmm; echo "\${COMPREPLY[*]}"
    }
    completes 'tsvmm --kern'
    completes 'tsvmm --memory size=1G,shared=o'
    completes 'tsvmm --memory '`
  const { stdout } = await execa('bash', ['--norc', '-c', script])
  const [flag, values, keys] = stdout.split('\n')
  t.is(flag, '--kernel')
  t.is(values, 'on off', 'bash breaks words at =')
  t.regex(keys ?? '', /^size= mergeable= /)
})
