import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { openRandomSource } from './random-source.ts'

test('a file gives its bytes in order, then says that it is at its end', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'tsvmm-random-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'bytes')
  writeFileSync(path, Uint8Array.of(1, 2, 3))
  const source = await openRandomSource(path)
  t.deepEqual(await source.read(2), Uint8Array.of(1, 2))
  t.deepEqual(await source.read(2), Uint8Array.of(3))
  await t.throwsAsync(source.read(2), { message: 'is at its end' })
  await source.close()
})

test('a device gives as many bytes as are asked for', async t => {
  const source = await openRandomSource('/dev/urandom')
  t.is((await source.read(64)).length, 64)
  await source.close()
})

test('what cannot be a source is refused by name, and a FIFO without waiting for its writer', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'tsvmm-random-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const fifo = join(directory, 'fifo')
  execFileSync('mkfifo', [fifo])
  const empty = join(directory, 'empty')
  writeFileSync(empty, '')
  const refuses = async (path: string, reason: string) => {
    await t.throwsAsync(openRandomSource(path), { code: 'ERR_RNG', message: `--rng ${path}: ${reason}` })
  }
  await refuses('/nowhere', 'no such file or directory')
  await refuses(directory, 'is a directory')
  await refuses(fifo, 'is neither a file nor a character device')
  await refuses(empty, 'is empty')
})
