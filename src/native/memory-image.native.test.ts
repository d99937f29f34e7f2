import { closeSync, fstatSync, ftruncateSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { addon, type NativeGuestMemory, type NativeMapping } from './addon.ts'
import type { MemoryImageWriterOptions } from './memory-image.ts'

const pageBytes = 4096
const highAddress = 2 ** 32
const lowPages = 300
const highPages = 100
const pages = lowPages + highPages
const forms = ['image', 'zstd'] as const

function temporaryFile(): { readonly fd: number; [Symbol.dispose](): void } {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-image-'))
  const fd = openSync(join(folder, 'memory'), 'w+')
  rmSync(folder, { recursive: true })
  return { fd, [Symbol.dispose]: () => closeSync(fd) }
}

function memoryOf(low: NativeMapping, high: NativeMapping): NativeGuestMemory {
  const memory = new (addon().GuestMemory)()
  memory.add(0, low, 0, low.sizeBytes)
  memory.add(highAddress, high, 0, high.sizeBytes)
  low.close()
  high.close()
  return memory
}

/** Two ranges of RAM; a function of the page's number decides what each is filled with. */
function ram(value: (page: number) => number = () => 0): NativeGuestMemory {
  const map = (count: number) => new (addon().Mapping)({ sizeBytes: count * pageBytes, backing: 'anonymous' })
  const memory = memoryOf(map(lowPages), map(highPages))
  for (let page = 0; page < pages; page += 1) fillPage(memory, page, value(page))
  return memory
}

function fillPage(memory: NativeGuestMemory, page: number, value: number): void {
  const address = page < lowPages ? page * pageBytes : highAddress + (page - lowPages) * pageBytes
  if (value !== 0) memory.fill(address, value, pageBytes)
}

function contents(memory: NativeGuestMemory): Buffer {
  return Buffer.concat([memory.read(0, lowPages * pageBytes), memory.read(highAddress, highPages * pageBytes)])
}

function writerOf(memory: NativeGuestMemory, fd: number, options: Partial<MemoryImageWriterOptions> = {}) {
  return new (addon().MemoryImageWriter)({ memory, fd, form: 'image', level: 1, threads: 2, ...options })
}

function bitsOf(numbers: readonly number[]): Uint8Array {
  const bits = new Uint8Array(Math.ceil(pages / 8))
  for (const page of numbers) bits[page >> 3] = (bits[page >> 3] ?? 0) | (1 << (page & 7))
  return bits
}

test('what was written is loaded, and counted', async t => {
  for (const form of forms) {
    using file = temporaryFile()
    const memory = ram(page => page % 3)
    const writer = writerOf(memory, file.fd, { form })
    await writer.write()
    const data = Array.from({ length: pages }, (_, page) => page).filter(page => page % 3 !== 0).length
    t.deepEqual(writer.progress(), { pagesDone: pages, pagesTotal: pages, bytesWritten: data * pageBytes })
    const image = new (addon().MemoryImage)([{ fd: file.fd, index: writer.index() }])
    writer.close()
    t.is(image.pages, pages)
    t.deepEqual(image.counts(), { present: pages, data })
    await image.verify(2)
    const target = ram()
    await image.load(target, 2)
    t.deepEqual(image.progress(), { pagesDone: pages, pagesTotal: pages, bytesWritten: data * pageBytes })
    t.true(contents(target).equals(contents(memory)))
    image.close()
  }
})

test('layers are loaded and mapped as what the newest says', async t => {
  using oldFile = temporaryFile()
  using newFile = temporaryFile()
  const memory = ram(page => page % 5)
  const oldWriter = writerOf(memory, oldFile.fd)
  await oldWriter.write()
  const changed = [0, 1, 2, 299, 300, 399]
  for (const page of changed) fillPage(memory, page, 77)
  const newWriter = writerOf(memory, newFile.fd)
  await newWriter.write(bitsOf(changed))
  const image = new (addon().MemoryImage)([
    { fd: newFile.fd, index: newWriter.index() },
    { fd: oldFile.fd, index: oldWriter.index() },
  ])
  t.deepEqual(image.counts(), { present: changed.length, data: changed.length })
  const loaded = ram()
  await image.load(loaded, 1)
  t.true(contents(loaded).equals(contents(memory)))
  const low = image.map(0, lowPages, { mergeable: true, thp: true })
  const high = image.map(lowPages, highPages, { prefault: true, reserve: false })
  t.is(low.sizeBytes, lowPages * pageBytes)
  const mapped = memoryOf(low, high)
  image.close()
  t.true(contents(mapped).equals(contents(memory)))
  mapped.fill(0, 1, pageBytes)
  const first = Buffer.alloc(1)
  readSync(newFile.fd, first, 0, 1, 0)
  t.is(first[0], 77)
})

test('memory is written as it was when it was frozen', async t => {
  for (const form of forms) {
    using file = temporaryFile()
    const memory = ram(page => page % 3)
    const before = contents(memory)
    const writer = writerOf(memory, file.fd, { form })
    t.throws(() => writer.freeze(), { code: 'EINVAL' }, 'not prepared')
    writer.prepareFreeze()
    t.throws(() => writer.freeze(new Uint8Array(3)), { instanceOf: RangeError })
    const written = writer.freeze()
    // As long as it takes they wait for threads that need nothing of this one.
    for (let page = 0; page < pages; page += 1) fillPage(memory, page, 9)
    await t.throwsAsync(writer.write(), { code: 'EBUSY' })
    await written
    t.throws(() => writer.freeze(), { code: 'EINVAL' }, 'once')
    const image = new (addon().MemoryImage)([{ fd: file.fd, index: writer.index() }])
    const target = ram()
    await image.load(target, 2)
    t.true(contents(target).equals(before))
    image.close()
  }
})

test('frozen memory is let go where its writing is cancelled or given up, and not every memory can be frozen', async t => {
  using file = temporaryFile()
  const memory = ram(page => page % 3)
  const writer = writerOf(memory, file.fd)
  for (const end of ['cancel', 'close'] as const) {
    writer.prepareFreeze()
    const written = writer.freeze()
    writer[end]()
    for (let page = 0; page < pages; page += 1) fillPage(memory, page, 9)
    await t.throwsAsync(written, { code: 'ECANCELED' })
  }
  using base = temporaryFile()
  const saved = writerOf(memory, base.fd)
  await saved.write()
  const image = new (addon().MemoryImage)([{ fd: base.fd, index: saved.index() }])
  const shown = memoryOf(image.map(0, lowPages), image.map(lowPages, highPages))
  t.throws(() => writerOf(shown, file.fd).prepareFreeze(), { code: 'EOPNOTSUPP' })
  image.close()
})

test('a later pass replaces pages of an earlier one', async t => {
  for (const form of forms) {
    using file = temporaryFile()
    const memory = ram(page => (page < 10 ? 1 : 0))
    const writer = writerOf(memory, file.fd, { form })
    await writer.write()
    memory.fill(0, 0, 5 * pageBytes)
    fillPage(memory, 350, 9)
    await writer.write(bitsOf([0, 1, 2, 3, 4, 350]))
    const image = new (addon().MemoryImage)([{ fd: file.fd, index: writer.index() }])
    t.deepEqual(image.counts(), { present: pages, data: 6 })
    const target = ram()
    await image.load(target, 2)
    t.true(contents(target).equals(contents(memory)))
  }
})

test('one work at a time, and it can be cancelled', async t => {
  using file = temporaryFile()
  const memory = ram(page => page % 7)
  const writer = writerOf(memory, file.fd)
  const cancelled = t.throwsAsync(writer.write(), { code: 'ECANCELED' })
  const second = t.throwsAsync(writer.write(), { code: 'EBUSY' })
  writer.cancel()
  await Promise.all([cancelled, second])
  await writer.write()
  const image = new (addon().MemoryImage)([{ fd: file.fd, index: writer.index() }])
  const verifying = t.throwsAsync(image.verify(1), { code: 'ECANCELED' })
  const loading = t.throwsAsync(image.load(ram(), 1), { code: 'EBUSY' })
  image.close()
  await Promise.all([verifying, loading])
  const closing = t.throwsAsync(writer.write(), { code: 'ECANCELED' })
  writer.close()
  await closing
  t.throws(() => writer.index(), { message: /closed/ })
  t.throws(() => writer.write(), { message: /closed/ })
  t.throws(() => image.map(0, 1), { message: /closed/ })
})

test('what is no regular file is refused', t => {
  const fd = openSync('/dev/full', 'r+')
  t.like(
    t.throws(() => writerOf(ram(), fd), { code: 'EINVAL' }),
    { syscall: 'ftruncate' },
  )
  closeSync(fd)
})

test('broken files are refused with layer and page', async t => {
  using file = temporaryFile()
  const memory = ram(() => 1)
  const writer = writerOf(memory, file.fd)
  await writer.write()
  const index = writer.index()
  writeSync(file.fd, Uint8Array.of(2), 0, 1, 123 * pageBytes + 50)
  const image = new (addon().MemoryImage)([{ fd: file.fd, index }])
  const expected = { code: 'EBADMSG', message: /^layer 0, page 123: memory image: checksum/ }
  await t.throwsAsync(image.verify(2), expected)
  await t.throwsAsync(image.load(ram(), 2), expected)
  const open = (bytes: Uint8Array) =>
    new (addon().MemoryImage)([
      { fd: file.fd, index },
      { fd: file.fd, index: bytes },
    ])
  t.throws(() => open(index.subarray(1)), { code: 'EBADMSG', message: /^layer 1: memory index: not one/ })
  t.throws(() => open(index.with(100, 1)), { code: 'EBADMSG', message: /^layer 1: memory index: checksum/ })
  t.is(fstatSync(file.fd).size, pages * pageBytes)
  ftruncateSync(file.fd, pages * pageBytes - 1)
  t.throws(() => open(index), { code: 'EBADMSG', message: /^layer 0: memory image: the file is too short/ })
})

test('a layer that lacks pages cannot be loaded alone', async t => {
  for (const form of forms) {
    using file = temporaryFile()
    const writer = writerOf(ram(), file.fd, { form })
    await writer.write(bitsOf([0, 2]))
    const image = new (addon().MemoryImage)([{ fd: file.fd, index: writer.index() }])
    await image.verify(1)
    await t.throwsAsync(image.load(ram(), 1), { code: 'EBADMSG', message: /^page 1: / })
    t.throws(() => image.map(0, 1), { code: form === 'image' ? 'EBADMSG' : 'EINVAL' })
  }
})

test('arguments out of range are refused by name', async t => {
  using file = temporaryFile()
  const memory = ram()
  const writer = writerOf(memory, file.fd)
  await writer.write(new Uint8Array(new BigUint64Array(Math.ceil(pages / 64)).buffer))
  t.throws(() => writer.write(new Uint8Array(pages / 8 - 1)), { instanceOf: RangeError, message: /present/ })
  t.throws(() => writer.write(new Uint8Array(pages)), { instanceOf: RangeError, message: /present/ })
  const beyond = new Uint8Array(Math.ceil(pages / 64) * 8).fill(255)
  t.throws(() => writer.write(beyond), { instanceOf: RangeError, message: /present/ })
  t.throws(() => writerOf(memory, file.fd, { threads: 0 }), { code: 'EINVAL' })
  t.throws(() => writerOf(memory, file.fd, { threads: 65 }), { instanceOf: RangeError, message: /threads/ })
  t.throws(() => writerOf(memory, file.fd, { level: 20 }), { code: 'EINVAL' })
  t.throws(() => writerOf(memory, -1), { instanceOf: RangeError, message: /fd/ })
  t.throws(() => new (addon().MemoryImage)([]), { code: 'EINVAL' })
  await writer.write()
  const image = new (addon().MemoryImage)([{ fd: file.fd, index: writer.index() }])
  t.throws(() => image.map(pages, 1), { code: 'EINVAL' })
  t.throws(() => image.map(0, pages + 1), { instanceOf: RangeError })
  t.throws(() => image.map(-1, 1), { instanceOf: RangeError })
  const small = new (addon().GuestMemory)()
  await t.throwsAsync(image.load(small, 1), { code: 'EINVAL' })
  await image.load(ram(), 1)
})
