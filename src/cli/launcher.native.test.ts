import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { execa } from 'execa'

const launcher = new URL('../../build/tsvmm', import.meta.url).pathname

/** A folder with the launcher, a snapshot, and programs that say how they were called: the snapshot's Node and another one. */
function aProgram(t: ExecutionContext) {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm launcher-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const own = join(folder, 'own-node')
  mkdirSync(join(folder, 'bin'))
  for (const [path, name] of [
    [own, 'own'],
    [join(folder, 'bin/node'), 'other'],
  ] as const) {
    writeFileSync(path, `#!/bin/sh\necho ${name} "$@"\n`, { mode: 0o755 })
  }
  copyFileSync(launcher, join(folder, 'tsvmm'))
  writeFileSync(join(folder, 'startup.blob'), '')
  const sizeBytes = statSync(own).size
  const describeNode = (text: string) => writeFileSync(join(folder, 'startup.node'), text)
  describeNode(`${own}\n${sizeBytes}\n`)
  const run = async (args: readonly string[], name = 'tsvmm', path = join(folder, 'bin')) => {
    const { stdout, stderr, exitCode } = await execa(join(folder, name), args, {
      env: { PATH: path },
      extendEnv: false,
      reject: false,
    })
    return { output: stdout.replaceAll(folder, ''), stderr, exitCode }
  }
  return { folder, own, sizeBytes, describeNode, run }
}

test('it starts from the snapshot, whatever name it has and wherever it is', async t => {
  const { folder, run } = aProgram(t)
  const started = 'own --snapshot-blob /startup.blob tsvmm --kernel k -- x'
  t.is((await run(['--kernel', 'k', '--', 'x'])).output, started)
  symlinkSync(join(folder, 'tsvmm'), join(folder, 'bin/cloud-hypervisor'))
  t.is((await run(['--kernel', 'k', '--', 'x'], 'bin/cloud-hypervisor')).output, started)
})

test('the Node that it starts from may be beside it', async t => {
  const { sizeBytes, describeNode, run } = aProgram(t)
  describeNode(`own-node\n${sizeBytes}\n`)
  t.is((await run(['a'])).output, 'own --snapshot-blob /startup.blob tsvmm a')
})

test('what needs no machine is not started from the snapshot', async t => {
  const { run } = aProgram(t)
  for (const flag of ['--version', '-V', '--help', '-h']) t.is((await run([flag])).output, `own /tsvmm.js ${flag}`)
  t.is((await run(['--version', 'x'])).output, 'own --snapshot-blob /startup.blob tsvmm --version x')
})

test('without the Node that the snapshot is of, or the snapshot, it starts from files', async t => {
  const { folder, own, sizeBytes, describeNode, run } = aProgram(t)
  for (const text of [`${own}\n${sizeBytes + 1}\n`, `${own}-gone\n${sizeBytes}\n`, own, '', '\n\n']) {
    describeNode(text)
    t.is((await run(['a'])).output, 'other /tsvmm.js a', text)
  }
  rmSync(join(folder, 'startup.node'))
  t.is((await run(['a'])).output, 'other /tsvmm.js a')
  describeNode(`${own}\n${sizeBytes}\n`)
  rmSync(join(folder, 'startup.blob'))
  t.is((await run(['a'])).output, 'own /tsvmm.js a')
})

test('without any Node it says so', async t => {
  const { describeNode, run } = aProgram(t)
  describeNode('')
  t.deepEqual(await run(['a'], 'tsvmm', '/nowhere'), {
    output: '',
    stderr: 'tsvmm: error: node cannot be run: No such file or directory',
    exitCode: 1,
  })
})
