import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { execa } from 'execa'
import { describeDebugCode } from '../util/debug-code.ts'
import { standInError, standInLogForm } from './stand-in.ts'

const program = new URL('./tsvmm.ts', import.meta.url).pathname

/** The program by the name that its clients know it by. */
function run(...args: readonly string[]) {
  return execa(process.execPath, [program, ...args], {
    argv0: '/opt/bin/cloud-hypervisor',
    reject: false,
    stdin: 'ignore',
  })
}

test('the first line of --version is what clients parse', async t => {
  for (const flag of ['--version', '-V']) {
    const { stdout, stderr, exitCode } = await run(flag)
    t.is(stdout.split('\n', 1)[0], 'cloud-hypervisor v53.0')
    t.deepEqual([stderr, exitCode], ['', 0])
  }
})

test('a failure is the chain of its reasons, with exit code 1', async t => {
  const { stdout, stderr, exitCode } = await run('--kernel', '/nowhere/vmlinux', '--kvm', '/dev/null')
  t.regex(stderr, /^Error: Cloud Hypervisor exited with the following chain of errors:\n {2}0: .*\n {2}1: .*$/)
  t.deepEqual([stdout, exitCode], ['', 1])
})

test('a failure without a cause is one line', t => {
  t.is(
    standInError(['the guest stopped']),
    'Error: Cloud Hypervisor exited with the following error:\n  the guest stopped',
  )
})

test('wrong usage has exit code 2', async t => {
  t.is((await run('--kerne', 'x')).exitCode, 2)
  t.is((await run('--kernel', 'x', '--memory', 'size=1Q')).exitCode, 2)
})

test('lines of the log have thread, level, place and message', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-stand-in-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const log = join(folder, 'log')
  await run('-v', '--log-file', log, '--kernel', 'x', '--kvm', '/dev/null')
  t.regex(readFileSync(log, 'utf8'), /^cloud-hypervisor: \d+\.\d{6}s: <vmm> INFO:\S+:\d+ -- started at [^\r\n]*\r\n/)
})

test('a tool finds the time of a boot in the log as in that of Cloud Hypervisor', t => {
  const line = standInLogForm('0.096600', 'warn', describeDebugCode(0x40, 0.096537)).trimEnd()
  const [, message = '', ...more] = line.split('--')
  t.deepEqual(more, [])
  const words = message.trim().split(/\s+/)
  t.is(words.length, 8)
  t.true(message.includes('0x40'))
  t.deepEqual(words.slice(6), ['0.096537', 'seconds'])
})
