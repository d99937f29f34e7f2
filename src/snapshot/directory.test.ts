import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type DirectoryOptions, SnapshotDirectory } from './directory.ts'

const code = 'ERR_SNAPSHOT'
const plain: DirectoryOptions = { durability: 'data', overwrite: false }

function aPlace(t: ExecutionContext): string {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-snapshot-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  return place
}

async function make(path: string, text: string, options = plain): Promise<void> {
  await using directory = await SnapshotDirectory.create(path, options)
  await directory.write('state.bin', Buffer.from(text))
  await directory.commit(Buffer.from('{}'))
}

test('a snapshot has its name as a whole, and others cannot read it', async t => {
  const place = aPlace(t)
  const path = join(place, 'one')
  for (const durability of ['none', 'data', 'full'] as const) {
    await make(path, durability, { durability, overwrite: true })
    t.is(readFileSync(join(path, 'state.bin'), 'utf8'), durability)
    t.deepEqual(readdirSync(place), ['one'])
    t.is(statSync(path).mode & 0o777, 0o700)
    t.is(statSync(join(path, 'state.bin')).mode & 0o777, 0o600)
  }
})

test('one that is given up leaves nothing', async t => {
  const place = aPlace(t)
  {
    await using directory = await SnapshotDirectory.create(join(place, 'one'), plain)
    await directory.write('state.bin', Buffer.from('half'))
    t.false(existsSync(join(place, 'one')))
  }
  t.deepEqual(readdirSync(place), [])
})

test('an empty directory, as clients make it, is taken; one with something in it is not', async t => {
  const place = aPlace(t)
  const path = join(place, 'one')
  mkdirSync(path)
  await make(path, 'first')
  const message = `snapshot ${path}: there is something already`
  await t.throwsAsync(make(path, 'second'), { code, message })
  t.is(readFileSync(join(path, 'state.bin'), 'utf8'), 'first')
  t.deepEqual(readdirSync(place), ['one'])
})

test('only a snapshot is overwritten, and it is there until the new one is whole', async t => {
  const place = aPlace(t)
  const path = join(place, 'one')
  const overwrite: DirectoryOptions = { durability: 'none', overwrite: true }
  mkdirSync(path)
  writeFileSync(join(path, 'letter'), 'dear')
  const message = `snapshot ${path}: what is there is no snapshot: it is not overwritten`
  await t.throwsAsync(make(path, 'first', overwrite), { code, message })
  rmSync(path, { recursive: true })
  await make(path, 'first', overwrite)
  {
    await using directory = await SnapshotDirectory.create(path, overwrite)
    await directory.write('state.bin', Buffer.from('second'))
    t.is(readFileSync(join(path, 'state.bin'), 'utf8'), 'first')
  }
  t.is(readFileSync(join(path, 'state.bin'), 'utf8'), 'first')
  await make(path, 'third', overwrite)
  t.is(readFileSync(join(path, 'state.bin'), 'utf8'), 'third')
  t.deepEqual(readdirSync(place), ['one'])
})

test('a place that is none is named', async t => {
  const place = aPlace(t)
  writeFileSync(join(place, 'file'), '')
  await t.throwsAsync(make(join(place, 'no', 'where'), ''), {
    code,
    message: /\/no\/where: no such file or directory$/,
  })
  await t.throwsAsync(make(join(place, 'file'), ''), { code, message: /\/file: not a directory$/ })
})

test('what dead processes have left is swept away, what living ones are making is not', async t => {
  const place = aPlace(t)
  // Beyond the largest process number that Linux has.
  const [dead, living] = [4_194_305, process.pid]
  for (const name of [`.one.partial-${dead}-1`, `.one.partial-${living}-99`, `.two.partial-${dead}-1`]) {
    mkdirSync(join(place, name))
  }
  await make(join(place, 'one'), 'text')
  t.deepEqual(readdirSync(place).toSorted(), [`.one.partial-${living}-99`, `.two.partial-${dead}-1`, 'one'])
})

test('an old snapshot that was on its way out when the program was killed comes back', async t => {
  const place = aPlace(t)
  const path = join(place, 'one')
  await make(path, 'old')
  const old = join(place, '.one.partial-4194305-1-old')
  renameSync(path, old)
  await t.throwsAsync(make(path, 'new'), { code, message: /there is something already$/ })
  t.is(readFileSync(join(path, 'state.bin'), 'utf8'), 'old')
})
