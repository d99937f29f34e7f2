import { writeSync } from 'node:fs'
import test from 'ava'
import { addon } from '../native/addon.ts'
import { openRandomSource } from './random-source.ts'

test('a device that has no bytes yet is waited for, and can be closed meanwhile', async t => {
  const { masterFd, path } = addon().openPty()
  const source = await openRandomSource(path)
  const first = source.read(3)
  writeSync(masterFd, 'abc')
  t.is(Buffer.from(await first).toString(), 'abc')
  const second = t.throwsAsync(source.read(3), { name: 'AbortError' })
  await source.close()
  await second
  addon().closeDescriptor(masterFd)
})
