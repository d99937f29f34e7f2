import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type MachineEntry, Registration, registeredMachines, runtimeDirectory } from './registry.native.ts'

function aDirectory(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-registry-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return join(folder, 'run', 'tsvmm')
}

const entry: MachineEntry = { pid: process.pid, started: '2026-11-30T12:00:00.000Z', state: 'absent', consoles: {} }

test('machines are listed while they are there, the oldest first', t => {
  const directory = aDirectory(t)
  t.deepEqual(registeredMachines(directory), [])
  using _second = new Registration(directory, { ...entry, clone: 1 })
  using third = new Registration(directory, { ...entry, pid: 7, started: '2026-11-30T12:00:01.000Z' })
  using _first = new Registration(directory, { ...entry, clone: 0 })
  t.is(statSync(directory).mode & 0o777, 0o700)
  const listed = () => registeredMachines(directory).map(({ pid, clone }) => [pid, clone])
  t.deepEqual(listed(), [
    [process.pid, 0],
    [process.pid, 1],
    [7, undefined],
  ])
  third[Symbol.dispose]()
  third[Symbol.dispose]()
  t.deepEqual(listed(), [
    [process.pid, 0],
    [process.pid, 1],
  ])
})

test('an entry is replaced by the next one, and nothing is left of it', t => {
  const directory = aDirectory(t)
  using registration = new Registration(directory, entry)
  const running: MachineEntry = {
    ...{ ...entry, state: 'running', vcpus: 2, memory_bytes: 2 ** 29, boots: '/k', socket: '/s' },
    consoles: { serial: '/dev/pts/7' },
  }
  registration.update(running)
  t.deepEqual(registeredMachines(directory), [running])
  registration.update(running)
  t.deepEqual(readdirSync(directory), [`${process.pid}.json`])
  registration[Symbol.dispose]()
  t.deepEqual(readdirSync(directory), [])
})

test('what a program that was killed has left is removed, though another has its number', async t => {
  const directory = aDirectory(t)
  const script = `
    const { Registration } = await import(${JSON.stringify(new URL('./registry.native.ts', import.meta.url).href)})
    globalThis.kept = new Registration(${JSON.stringify(directory)}, ${JSON.stringify(entry)})
    console.log('there')
    setInterval(() => {}, 1000)`
  const other = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(other.stdout, 'data')
  t.is(registeredMachines(directory).length, 1)
  other.kill('SIGKILL')
  await once(other, 'exit')
  t.true(existsSync(join(directory, `${process.pid}.json`)))
  t.deepEqual(registeredMachines(directory), [])
  t.deepEqual(readdirSync(directory), [])
})

test('what is no entry is no machine', t => {
  const directory = aDirectory(t)
  using registration = new Registration(directory, entry)
  symlinkSync('/etc/passwd', join(directory, '1.json'))
  mkdirSync(join(directory, '2.json'))
  writeFileSync(join(directory, 'notes.txt'), 'mine')
  t.deepEqual(registeredMachines(directory), [entry])
  t.true(existsSync(join(directory, 'notes.txt')))
  t.true(existsSync(join(directory, '1.json')))
  t.notThrows(() => registration.update({ ...entry, state: 'paused' }))
})

test('a directory that is not this user’s, or is none, is refused', t => {
  t.throws(() => new Registration('/proc/1', entry), {
    message: /belongs to somebody else|no such|not permitted|EACCES/,
  })
  const directory = aDirectory(t)
  mkdirSync(join(directory, '..'), { recursive: true })
  writeFileSync(directory, '')
  t.throws(() => new Registration(directory, entry))
})

test('entries are where they were said to be, or with what else goes with the host’s run', t => {
  t.is(runtimeDirectory({ TSVMM_RUNTIME_DIR: '/a' }), '/a')
  const expected = process.getuid?.() === 0 ? '/run/tsvmm' : '/run/user/7/tsvmm'
  t.is(runtimeDirectory({ XDG_RUNTIME_DIR: '/run/user/7' }), expected)
})
