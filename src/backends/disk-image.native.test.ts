import { execFileSync } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { openDisk } from './disk.native.ts'
import { type ImageOptions, openImage } from './disk-image.native.ts'

class Folder {
  readonly path: string

  constructor(t: ExecutionContext) {
    this.path = mkdtempSync(join(tmpdir(), 'tsvmm-image-'))
    t.teardown(() => rmSync(this.path, { recursive: true }))
  }

  /** An image of 1 MiB. */
  make(name: string, ...options: string[]): string {
    execFileSync('qemu-img', ['create', '-q', ...options, name, '1M'], { cwd: this.path })
    return join(this.path, name)
  }
}

const open = (path: string, change: Partial<ImageOptions> = {}) =>
  openImage({
    ...{ path, format: 'qcow2', isReadOnly: false, isDirect: false, isSparse: true, mayHaveBackingFile: false },
    ...change,
  })

function refuses(t: ExecutionContext, path: string, change: Partial<ImageOptions>, reason: string, named = path): void {
  t.throws(() => open(path, change).close(), { code: 'ERR_DISK', message: `--disk ${named}: ${reason}` })
}

test('a qcow2 image is a disk of the size that it says', t => {
  const path = new Folder(t).make('disk.qcow2', '-f', 'qcow2')
  const disk = open(path)
  t.like(disk, { sizeBytes: 1024 * 1024, logicalBlockBytes: 512, alignmentBytes: 1 })
  t.true(disk.canDiscard && disk.canWriteZeroes)
  disk.close()
  disk.close()
  const reader = open(path, { isReadOnly: true, isDirect: true })
  t.like(reader, { logicalBlockBytes: 512, alignmentBytes: 4096, canDiscard: false, canWriteZeroes: false })
  reader.close()
  const kept = open(path, { isSparse: false })
  t.false(kept.canDiscard)
  kept.close()
})

test('images are locked as raw disks are, and let go', t => {
  const path = new Folder(t).make('disk.qcow2', '-f', 'qcow2')
  const writer = open(path)
  t.throws(() => open(path), { code: 'ERR_DISK_LOCKED' })
  t.throws(() => openDisk({ path, isReadOnly: true, isDirect: false, isSparse: true }), { code: 'ERR_DISK_LOCKED' })
  writer.close()
  const readers = [open(path, { isReadOnly: true }), open(path, { isReadOnly: true })]
  t.throws(() => open(path), { code: 'ERR_DISK_LOCKED' })
  for (const reader of readers) reader.close()
  open(path).close()
})

test('what is no image is refused by name', t => {
  const folder = new Folder(t)
  const raw = folder.make('raw', '-f', 'raw')
  refuses(t, raw, {}, 'is no qcow2 image')
  refuses(t, raw, { format: 'vhd' }, 'is no fixed VHD: it has no footer')
  mkdirSync(join(folder.path, 'inner'))
  refuses(t, join(folder.path, 'inner'), {}, 'illegal operation on a directory')
  refuses(t, join(folder.path, 'none'), {}, 'no such file or directory')
  refuses(
    t,
    folder.make('dynamic', '-f', 'vpc'),
    { format: 'vhd' },
    'is a VHD that is dynamic: only fixed ones are supported',
  )
  const small = folder.make('small.qcow2', '-f', 'qcow2', '-o', 'cluster_size=512')
  refuses(t, small, { isDirect: true }, 'direct=on needs clusters of at least 4096 bytes, it has 512')
  const extended = folder.make('extended', '-f', 'qcow2', '-o', 'extended_l2=on')
  refuses(t, extended, {}, 'has extended L2 entries, which are not supported')
})

test('a VHDX image is a disk of the size that it says', t => {
  const folder = new Folder(t)
  const path = folder.make('disk.vhdx', '-f', 'vhdx', '-o', 'block_size=1M')
  const disk = open(path, { format: 'vhdx' })
  t.like(disk, { sizeBytes: 1024 * 1024, logicalBlockBytes: 512, canDiscard: true, canWriteZeroes: true })
  t.throws(() => open(path, { format: 'vhdx' }), { code: 'ERR_DISK_LOCKED' })
  disk.close()
  open(path, { format: 'vhdx', isReadOnly: true, isDirect: true }).close()
  refuses(t, folder.make('raw', '-f', 'raw'), { format: 'vhdx' }, 'is no VHDX image')
})

test('a fixed VHD is the disk in front of its footer', t => {
  const path = new Folder(t).make('disk.vhd', '-f', 'vpc', '-o', 'subformat=fixed,force_size=on')
  const disk = open(path, { format: 'vhd' })
  t.is(disk.sizeBytes, 1024 * 1024)
  t.like(disk.source, { sizeBytes: 1024 * 1024 })
  t.throws(() => open(path, { format: 'vhd' }), { code: 'ERR_DISK_LOCKED' })
  disk.close()
  open(path, { format: 'vhd', isDirect: true }).close()
})

test('no file that an image names is opened unless that is asked for', t => {
  const folder = new Folder(t)
  folder.make('base', '-f', 'raw')
  const path = folder.make('disk.qcow2', '-f', 'qcow2', '-b', 'base', '-F', 'raw')
  refuses(t, path, {}, 'stands on another file, base: say backing_files=on if that is to be opened')
  const disk = open(path, { mayHaveBackingFile: true })
  // Not even its lock is taken: readers share it.
  t.throws(() => openDisk({ path: join(folder.path, 'base'), isReadOnly: false, isDirect: false, isSparse: true }), {
    code: 'ERR_DISK_LOCKED',
  })
  openDisk({ path: join(folder.path, 'base'), isReadOnly: true, isDirect: false, isSparse: true }).close()
  disk.close()
  openDisk({ path: join(folder.path, 'base'), isReadOnly: false, isDirect: false, isSparse: true }).close()
})

test('backing files are found beside the image that names them, or where an absolute path says', t => {
  const folder = new Folder(t)
  mkdirSync(join(folder.path, 'below'))
  const base = folder.make('below/base', '-f', 'raw')
  folder.make('below/middle.qcow2', '-f', 'qcow2', '-b', base, '-F', 'raw')
  const path = folder.make('disk.qcow2', '-f', 'qcow2', '-b', 'below/middle.qcow2', '-F', 'qcow2')
  open(path, { mayHaveBackingFile: true }).close()
  truncateSync(base, 100)
  refuses(t, path, { mayHaveBackingFile: true }, 'is smaller than a sector', base)
  rmSync(base)
  refuses(t, path, { mayHaveBackingFile: true }, 'no such file or directory', base)
  // Nothing of it stays open, nor locked.
  t.deepEqual(openNames(folder.path), [])
})

test('a backing file that cannot be told is refused', t => {
  const folder = new Folder(t)
  folder.make('base', '-f', 'raw')
  const path = folder.make('disk.qcow2', '-f', 'qcow2')
  const named = (name: string, ...format: string[]) =>
    execFileSync('qemu-img', ['rebase', '-q', '-u', '-b', name, ...format, path], { cwd: folder.path })
  const allowed = { mayHaveBackingFile: true }
  named('nbd://localhost/x', '-F', 'raw')
  refuses(t, path, allowed, 'its backing file nbd://localhost/x is not named by a path')
  named('json:{"driver":"file","filename":"base"}', '-F', 'raw')
  refuses(t, path, allowed, 'its backing file json:{"driver":"file","filename":"base"} is not named by a path')
  named('base', '-F', 'vmdk')
  refuses(t, path, allowed, 'its backing file base is of a format that is not supported: vmdk')
  named('be\x1b[2Jtter', '-F', 'raw')
  refuses(t, path, {}, 'stands on another file, be?[2Jtter: say backing_files=on if that is to be opened')
  refuses(t, path, allowed, 'no such file or directory', join(folder.path, 'be\x1b[2Jtter'))
  named('disk.qcow2', '-F', 'qcow2')
  refuses(t, path, allowed, 'stands on itself')
  symlinkSync('disk.qcow2', join(folder.path, 'link'))
  named('link', '-F', 'qcow2')
  refuses(t, path, allowed, 'stands on itself', join(folder.path, 'link'))
  // An old image that does not say: the extension with the format is made another that nobody knows.
  named('base', '-F', 'raw')
  const fd = openSync(path, 'r+')
  writeSync(fd, Buffer.from([0x12, 0x34, 0x56, 0x78]), 0, 4, 112)
  closeSync(fd)
  refuses(
    t,
    path,
    allowed,
    'its backing file base may be of any format: qemu-img rebase -u -b FILE -F FORMAT says of which',
  )
})

function openNames(folder: string): string[] {
  return readdirSync('/proc/self/fd').flatMap(fd => {
    try {
      const name = execFileSync('readlink', [`/proc/${process.pid}/fd/${fd}`]).toString()
      return name.startsWith(folder) ? [name] : []
    } catch {
      return []
    }
  })
}

for (const format of ['qcow2', 'vhdx', 'vhd'] as const) {
  test(`a ${format} image is opened when nobody else has it any more, and given away`, async t => {
    const folder = new Folder(t)
    const other = format === 'vhd' ? ['-f', 'vpc', '-o', 'subformat=fixed,force_size=on'] : ['-f', format]
    const path = folder.make('disk.img', ...other)
    const one = open(path, { format })
    const two = open(path, { format, isLockedLater: true })
    t.is(two.sizeBytes, one.sizeBytes)
    t.throws(() => two.lock(), { code: 'ERR_DISK_LOCKED' })
    await one.unlock()
    await one.unlock()
    two.lock()
    two.lock()
    t.truthy(two.source)
    t.throws(() => one.lock(), { code: 'ERR_DISK_LOCKED' })
    two.close()
    one.lock()
    one.close()
  })
}
