import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { openDisk, type RawDiskOptions } from './disk.native.ts'

function folder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'tsvmm-'))
  t.teardown(() => rmSync(path, { recursive: true }))
  return path
}

function image(t: ExecutionContext, sizeBytes: number): string {
  const path = join(folder(t), 'disk.img')
  writeFileSync(path, '')
  truncateSync(path, sizeBytes)
  return path
}

const open = (path: string, change: Partial<RawDiskOptions> = {}) =>
  openDisk({ path, isReadOnly: false, isDirect: false, isSparse: true, ...change })

test('a raw image has the size of its whole sectors', t => {
  const disk = open(image(t, 10_000))
  t.is(disk.sizeBytes, 9728)
  t.is(disk.logicalBlockBytes, 512)
  t.is(disk.alignmentBytes, 1)
  t.true(disk.canWriteZeroes)
  disk.close()
  disk.close()
})

test('a disk opened directly looks the same to the guest', t => {
  const disk = open(image(t, 8192), { isDirect: true })
  t.is(disk.logicalBlockBytes, 512)
  t.is(disk.alignmentBytes, 4096)
  disk.close()
})

test('what cannot be a disk is refused by name', t => {
  const place = folder(t)
  mkdirSync(join(place, 'inner'))
  for (const [path, reason] of [
    [join(place, 'missing'), /no such file or directory/],
    [join(place, 'inner'), /directory/],
    ['/dev/null', /neither a regular file nor a block device/],
    [image(t, 511), /smaller than a sector/],
    [image(t, 0), /smaller than a sector/],
  ] as const) {
    const error = t.throws(() => open(path), { code: 'ERR_DISK' })
    t.regex(error?.message ?? '', reason)
    t.true(error?.message.startsWith(`--disk ${path}: `))
  }
})

test('an image of unknown format must not claim one', t => {
  const path = image(t, 8192)
  for (const isDirect of [false, true]) {
    open(path, { isFormatUnknown: true, isDirect }).close()
    writeFileSync(path, Buffer.from('QFI\u00fb'.padEnd(8192, '\0'), 'latin1'))
    const message = `--disk ${path}: is a qcow2 image; say image_type=qcow2, or raw if it is to be taken for raw`
    t.throws(() => open(path, { isFormatUnknown: true, isDirect }), { code: 'ERR_DISK', message })
    open(path, { isDirect }).close()
    writeFileSync(path, Buffer.alloc(8192))
  }
})

test('one writer keeps all others out, readers share', t => {
  const path = image(t, 4096)
  const writer = open(path)
  t.throws(() => open(path), { code: 'ERR_DISK_LOCKED' })
  t.throws(() => open(path, { isReadOnly: true }), { code: 'ERR_DISK_LOCKED' })
  writer.close()
  const readers = [open(path, { isReadOnly: true }), open(path, { isReadOnly: true })]
  t.throws(() => open(path), { code: 'ERR_DISK_LOCKED' })
  for (const reader of readers) {
    t.false(reader.canDiscard)
    t.false(reader.canWriteZeroes)
    reader.close()
  }
  open(path).close()
})

test('a closed disk is free, although a child process still has its file', t => {
  const path = image(t, 8192)
  const disk = open(path)
  // As every child has, until it is another program.
  const child = spawn('sleep', ['60'], { stdio: ['ignore', 'ignore', 'ignore', disk.source.fd] })
  t.teardown(() => child.kill())
  disk.close()
  open(path).close()
  t.pass()
})

test('a lock is taken later where it is another one’s still, and given away', async t => {
  const path = image(t, 8192)
  const one = open(path)
  const other = open(path, { isLockedLater: true })
  t.throws(() => other.lock(), { code: 'ERR_DISK_LOCKED' })
  await one.unlock()
  other.lock()
  other.lock()
  t.throws(() => one.lock(), { code: 'ERR_DISK_LOCKED' })
  other.close()
  one.lock()
  one.close()
})

test('an image grows, and is not cut where it has grown by itself', t => {
  const path = image(t, 8192)
  const disk = open(path, { isDirect: true })
  disk.grow?.(16_384)
  t.is(statSync(path).size, 16_384)
  truncateSync(path, 65_536)
  disk.grow?.(32_768)
  t.is(statSync(path).size, 65_536)
  t.throws(() => disk.grow?.(2 ** 62), { code: 'ERR_DISK' })
  disk.close()
  const shared = open(path, { isReadOnly: true })
  t.is(shared.grow, undefined)
  shared.close()
})
