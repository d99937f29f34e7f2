import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { FileChardev } from './file-chardev.ts'
import { outputLimitBytes } from './output-limit.ts'

const folder = mkdtempSync(join(tmpdir(), 'tsvmm-file-'))

function aFifo(name: string): string {
  const path = join(folder, name)
  execFileSync('mkfifo', [path])
  return path
}

test('a file is created for its owner, or emptied, and has all output', async t => {
  const path = join(folder, 'log')
  const first = FileChardev.open('--serial', path)
  first.write(Buffer.from('one '))
  first.write(Buffer.from('two'))
  await first.close()
  await first.close()
  first.write(Buffer.from('late'))
  t.is(readFileSync(path, 'latin1'), 'one two')
  t.is(statSync(path).mode & 0o777, 0o600)
  await FileChardev.open('--serial', path).close()
  t.is(readFileSync(path, 'latin1'), '')
})

test('a file that another one writes to still stays, and has the output of both', async t => {
  const path = join(folder, 'shared')
  const one = FileChardev.open('--serial', path)
  one.write(Buffer.from('one '))
  const other = FileChardev.open('--serial', path, true)
  other.write(Buffer.from('two '))
  one.write(Buffer.from('three'))
  await one.close()
  await other.close()
  t.is(readFileSync(path, 'latin1'), 'one two three')
})

test('what cannot be opened is named with its flag', t => {
  const path = join(folder, 'missing', 'log')
  const expected = { code: 'ERR_CHARDEV', message: `--serial ${path}: no such file or directory` }
  t.throws(() => FileChardev.open('--serial', path), expected)
  t.throws(() => FileChardev.open('--console', folder), { code: 'ERR_CHARDEV', message: /^--console .*directory/ })
  const fifo = aFifo('unread')
  t.throws(() => FileChardev.open('--serial', fifo), { message: `--serial ${fifo}: nobody reads this FIFO` })
})

test('a full disk drops output and nothing else', async t => {
  const full = FileChardev.open('--serial', '/dev/full')
  t.notThrows(() => full.write(Buffer.from('lost')))
  await full.close()
})

test('a FIFO whose reader is slow neither blocks nor keeps more than a megabyte', async t => {
  const path = aFifo('slow')
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const chardev = FileChardev.open('--serial', path)
  const block = Buffer.alloc(65536, 'x')
  for (let round = 0; round < 64; round += 1) chardev.write(block)
  chardev.write(Buffer.from('newest'))
  let read = ''
  const buffer = Buffer.alloc(1024 * 1024)
  while (!read.endsWith('newest')) {
    try {
      read += buffer.toString('latin1', 0, readSync(reader, buffer))
    } catch {
      await sleep(1)
    }
  }
  t.true(read.length <= outputLimitBytes + 2 * block.length)
  await chardev.close()
  closeSync(reader)
})

test('a FIFO whose reader has gone drops output', async t => {
  const path = aFifo('gone')
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const chardev = FileChardev.open('--serial', path)
  closeSync(reader)
  t.notThrows(() => chardev.write(Buffer.from('lost')))
  await chardev.close()
})

test('a file is never read', t => {
  const path = join(folder, 'input')
  writeFileSync(path, 'content')
  const chardev = FileChardev.open('--serial', path)
  t.notThrows(() => {
    chardev.onInput()
    chardev.setInputWanted()
  })
})
