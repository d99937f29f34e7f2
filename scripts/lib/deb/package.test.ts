import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import test from 'ava'
import { execa } from 'execa'
import { promptingKernel } from '../../../src/vmm/testing/prompting-guest.ts'

const root = new URL('../../..', import.meta.url).pathname
const place = mkdtempSync(join(tmpdir(), 'tsvmm-deb-test-'))
test.after.always(() => rmSync(place, { recursive: true }))
const installed = join(place, 'installed')
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
let deb = ''

/** Runs a program of the package, which finds nothing of this host's Node. */
function run(path: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return execa(join(installed, path), args, {
    env: { PATH: '/usr/bin:/bin', ...env },
    extendEnv: false,
    timeout: 60_000,
  })
}

test.before('it is made and unpacked', async t => {
  t.timeout(300_000)
  const made = await execa(join(root, 'scripts/make-deb'), ['--out', place, '--compression', 'zstd'])
  deb = made.stdout
  await execa('dpkg-deb', ['--extract', deb, installed])
})

test.serial('its program runs on the Node that it brings, from a snapshot of that', async t => {
  const { stdout } = await run('usr/bin/tsvmm', ['--version'])
  t.is(stdout, `tsvmm v${version}`)
  const { stdout: words } = await run('usr/bin/tsvmm', ['completion', 'words', '--', '--mem'])
  t.is(words, '--memory')
  const [node, size] = readFileSync(join(installed, 'usr/lib/tsvmm/dist/startup.node'), 'utf8').split('\n')
  t.is(node, '../node')
  t.is(statSync(join(installed, 'usr/lib/tsvmm/node')).size, Number(size))
})

test.serial('what it says of itself holds', async t => {
  const { stdout } = await execa('dpkg-deb', ['--contents', deb])
  for (const line of stdout.split('\n'))
    t.regex(line, /^[dl-]rwxr[-w]xr-x root\/root |^-rw-r--r-- root\/root |^l/, line)
  const { stdout: fields } = await execa('dpkg-deb', ['--field', deb, 'Package', 'Version'])
  t.is(fields, `Package: tsvmm\nVersion: ${version}`)
})

test.serial('systemd takes its service', async t => {
  const unit = readFileSync(join(installed, 'usr/lib/systemd/system/tsvmm@.service'), 'utf8')
  // Paths of the host that the package is not installed on.
  const here = join(place, 'tsvmm@one.service')
  writeFileSync(here, unit.replaceAll(/^(Exec\w+=)\//gm, `$1${installed}/`))
  const { all } = await execa('systemd-analyze', ['verify', '--man=no', '--recursive-errors=no', here], { all: true })
  t.is(all, '')
})

test.serial('a machine of the service boots from its file, and is asked to power off', async t => {
  const kernel = join(place, 'kernel')
  writeFileSync(kernel, promptingKernel())
  const config = { payload: { kernel }, memory: { size: 64 * 2 ** 20 }, console: { mode: 'Off' } }
  writeFileSync(join(place, 'one.json'), JSON.stringify(config))
  const socket = join(place, 'api.sock')
  const program = run('usr/bin/tsvmm', ['--api-socket', `path=${socket}`])
  const environment = {
    TSVMM: join(installed, 'usr/bin/tsvmm'),
    MAINPID: String(program.pid),
    CONFIGURATION_DIRECTORY: place,
    RUNTIME_DIRECTORY: place,
  }
  await run('usr/lib/tsvmm/machine', ['start', 'one'], environment)
  const { stdout } = await run('usr/bin/tsvmm', ['--api-socket', socket, 'info', '--json'])
  t.is(JSON.parse(stdout).state, 'Running')
  const stopping = run('usr/lib/tsvmm/machine', ['stop', 'one'], environment)
  // This guest does not mind its power button: systemd would wait for as long as the unit says.
  t.is(await Promise.race([stopping, delay(1000, 'waits')]), 'waits')
  program.kill('SIGTERM')
  t.is((await program).exitCode, 0)
  t.is((await stopping).exitCode, 0)
})

test.serial('a machine without a file is left to a client of the API', async t => {
  const { exitCode, stdout } = await run('usr/lib/tsvmm/machine', ['start', 'other'], {
    CONFIGURATION_DIRECTORY: place,
  })
  t.is(exitCode, 0)
  t.is(stdout, '')
})
