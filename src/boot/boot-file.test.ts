import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import test from 'ava'
import { SoftwareMemory } from '../memory/testing/software-memory.ts'
import { BootFile } from './boot-file.ts'
import { ScratchFiles } from './testing/files.ts'

const open = (path: string) => BootFile.open(path, 'ERR_KERNEL_OPEN', '--kernel')

test('headers are read, shorter at the end of the file', t => {
  using files = new ScratchFiles()
  using file = open(files.write('kernel', Uint8Array.of(1, 2, 3, 4)))
  t.is(file.sizeBytes, 4)
  t.deepEqual(file.read(1, 2), Uint8Array.of(2, 3))
  t.deepEqual(file.read(3, 8), Uint8Array.of(4))
  t.deepEqual(file.readWhole(2, 2), Uint8Array.of(3, 4))
  t.is(file.readWhole(3, 2), undefined)
  t.is(file.readWhole(2 ** 63, 2), undefined)
})

test('contents go into guest memory', async t => {
  using files = new ScratchFiles()
  using file = open(files.write('kernel', Uint8Array.of(1, 2, 3, 4)))
  const memory = new SoftwareMemory({ guestAddress: 0, sizeBytes: 16 })
  await file.load(memory, 8, 1, 2)
  t.deepEqual(memory.read(7, 4), Uint8Array.of(0, 2, 3, 0))
})

test('a file that cannot be a kernel is refused in one line', t => {
  using files = new ScratchFiles()
  const fifo = join(files.directory, 'fifo')
  execFileSync('mkfifo', [fifo])
  const code = 'ERR_KERNEL_OPEN'
  t.throws(() => open('/nowhere/vmlinux'), { code, message: '--kernel /nowhere/vmlinux: no such file or directory' })
  t.throws(() => open(files.directory), { code, message: `--kernel ${files.directory}: is a directory` })
  t.throws(() => open(fifo), { code, message: `--kernel ${fifo}: is not a regular file` })
  const empty = files.write('empty', new Uint8Array(0))
  t.throws(() => open(empty), { code, message: `--kernel ${empty}: is empty` })
})

test('an initramfs and firmware are named by their own flags', t => {
  for (const [code, option] of [
    ['ERR_INITRAMFS', '--initramfs'],
    ['ERR_KERNEL_OPEN', '--firmware'],
  ] as const) {
    const message = `${option} /nowhere/file: no such file or directory`
    t.throws(() => BootFile.open('/nowhere/file', code, option), { code, message })
  }
})

test('a file that shrinks while it is loaded is named', async t => {
  using files = new ScratchFiles()
  const path = files.write('kernel', new Uint8Array(8))
  using file = open(path)
  files.write('kernel', new Uint8Array(2))
  const memory = new SoftwareMemory({ guestAddress: 0, sizeBytes: 16 })
  const error = await t.throwsAsync(file.load(memory, 0, 0, 8), { code: 'ERR_KERNEL_OPEN' })
  t.true(error?.message.startsWith(`--kernel ${path}: cannot be read: `), error?.message)
})
