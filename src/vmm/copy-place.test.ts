import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { pathOfCopy } from './copy-place.ts'

test('copies are beside their disk under names of their own, or in a directory by device and number', async t => {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-place-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const disk = { id: '_disk0', path: join(place, 'a.img'), from: '/elsewhere/b.img' }
  const [one, other] = [await pathOfCopy('beside', disk, 0), await pathOfCopy('beside', disk, 0)]
  t.true(one.startsWith(`${place}/.a.img.`))
  t.not(one, other)
  const directory = join(place, 'of', 'clones')
  t.is(await pathOfCopy({ directory }, disk, 7), `${directory}/_disk0-7.img`)
  t.is(await pathOfCopy({ directory }, disk), `${directory}/_disk0.img`)
  t.true(statSync(directory).isDirectory())
})
