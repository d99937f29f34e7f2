import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { cacheDirectory, contentKey, makeOnce } from './cache.ts'

function folder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'tsvmm-cache-test-'))
  t.teardown(() => rmSync(path, { recursive: true }))
  return path
}

test('the cache is where the environment says, else below the home directory', t => {
  t.is(cacheDirectory({ TSVMM_CACHE: '/a', XDG_CACHE_HOME: '/b' }), '/a')
  t.is(cacheDirectory({ XDG_CACHE_HOME: '/b' }), '/b/tsvmm')
  t.regex(cacheDirectory({}), /\/\.cache\/tsvmm$/)
})

test('a key tells apart lists that join to the same text', t => {
  t.not(contentKey(['ab', 'c']), contentKey(['a', 'bc']))
  t.is(contentKey(['ab', 'c']), contentKey([Buffer.from('ab'), 'c']))
})

test('two at once make it once', async t => {
  const path = join(folder(t), 'thing')
  let made = 0
  const make = async (temporary: string) => {
    made += 1
    await delay(50)
    writeFileSync(temporary, 'done')
  }
  await Promise.all([makeOnce(path, make), makeOnce(path, make)])
  t.is(made, 1)
  t.is(readFileSync(path, 'utf8'), 'done')
})

test('what failed half-way is not there, and can be made again', async t => {
  const directory = folder(t)
  const path = join(directory, 'thing')
  const failing = makeOnce(path, async temporary => {
    writeFileSync(temporary, 'half')
    throw new Error('broken')
  })
  await t.throwsAsync(failing, { message: 'broken' })
  t.false(existsSync(path))
  t.deepEqual(readdirSync(directory), ['.thing.lock'])
  await makeOnce(path, async temporary => writeFileSync(temporary, 'whole'))
  t.is(readFileSync(path, 'utf8'), 'whole')
})
