import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { nameBackingFile } from './backing-name.ts'

function aPlace(t: ExecutionContext): string {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-backing-'))
  t.teardown(() => rmSync(place, { recursive: true }))
  mkdirSync(join(place, 'copies'))
  execFileSync('qemu-img', ['create', '-q', '-f', 'raw', 'base', '1M'], { cwd: place })
  return place
}

/** A copy in another folder. */
function copyOf(place: string, ...options: string[]): { from: string; copy: string } {
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...options, 'disk', '1M'], { cwd: place })
  const [from, copy] = [join(place, 'disk'), join(place, 'copies', 'disk')]
  copyFileSync(from, copy)
  return { from, copy }
}

const info = (path: string): Record<string, unknown> =>
  JSON.parse(execFileSync('qemu-img', ['info', '--output=json', path]).toString())

test('a relative name becomes an absolute one', async t => {
  const place = aPlace(t)
  for (const options of [
    ['-o', 'compat=1.1'],
    ['-o', 'compat=0.10'],
    ['-o', 'cluster_size=512'],
  ]) {
    const { from, copy } = copyOf(place, ...options, '-b', 'base', '-F', 'raw')
    await nameBackingFile(copy, from)
    t.like(info(copy), { 'backing-filename': join(place, 'base'), 'backing-filename-format': 'raw' })
    execFileSync('qemu-img', ['compare', '-q', from, copy])
    execFileSync('qemu-img', ['check', '-q', copy])
  }
})

test('an image that stands on nothing, or has an absolute name, stays as it is', async t => {
  const place = aPlace(t)
  for (const options of [[], ['-b', join(place, 'base'), '-F', 'raw']]) {
    const { from, copy } = copyOf(place, ...options)
    await nameBackingFile(copy, from)
    t.true(readFileSync(copy).equals(readFileSync(from)))
  }
})

test('a name for which there is no room is refused', async t => {
  const place = aPlace(t)
  const deep = join(place, 'x'.repeat(200), 'y'.repeat(200))
  const { copy } = copyOf(place, '-o', 'cluster_size=512', '-b', 'base', '-F', 'raw')
  await t.throwsAsync(nameBackingFile(copy, join(deep, 'disk')), {
    message: /^there is no room in it for \/.*\/base, /,
  })
})
