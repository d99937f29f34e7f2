import { execFileSync } from 'node:child_process'
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { copyDisk } from './disk-copy.ts'

function aPlace(t: ExecutionContext): string {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-copy-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  return place
}

const mebibyte = 1024 * 1024

test('a copy has the same bytes, and holes where there was nothing', async t => {
  const place = aPlace(t)
  const [from, to] = [join(place, 'from'), join(place, 'to')]
  const fd = openSync(from, 'w')
  ftruncateSync(fd, 64 * mebibyte + 513)
  for (const [position, length] of [
    [0, 1],
    [mebibyte - 1, 2],
    [10 * mebibyte + 65_535, 70_000],
    [64 * mebibyte + 512, 1],
  ] as const) {
    writeSync(fd, Buffer.alloc(length, 0xa5), 0, length, position)
  }
  closeSync(fd)
  await copyDisk(from, to)
  t.is(Buffer.compare(readFileSync(to), readFileSync(from)), 0)
  t.true(statSync(to).blocks * 512 < mebibyte)
  t.is(statSync(to).mode & 0o777, 0o600)
})

test('what is in the way, no file, or given up is refused, and nothing is left', async t => {
  const place = aPlace(t)
  const [from, to] = [join(place, 'from'), join(place, 'to')]
  writeFileSync(from, 'data')
  writeFileSync(to, 'mine')
  await t.throwsAsync(copyDisk(from, to), {
    code: 'ERR_DISK',
    message: `--disk ${to}: cannot copy: file already exists`,
  })
  t.is(readFileSync(to, 'utf8'), 'mine')
  rmSync(to)
  const fifo = join(place, 'fifo')
  execFileSync('mkfifo', [fifo])
  const reason = 'only regular files can be copied: use another path'
  await t.throwsAsync(copyDisk(fifo, to), { code: 'ERR_DISK', message: `--disk ${fifo}: cannot copy: ${reason}` })
  await t.throwsAsync(copyDisk(join(place, 'none'), to), { code: 'ERR_DISK', message: /no such file or directory/ })
  await t.throwsAsync(copyDisk(from, join(place, 'no', 'where')), { code: 'ERR_DISK', message: /no such file/ })
  const signal = AbortSignal.abort(new Error('enough'))
  await t.throwsAsync(copyDisk(from, to, signal), { message: 'enough' })
  t.deepEqual(readdirSync(place).toSorted(), ['fifo', 'from'])
})
