import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { addon, type MappingOptions } from './addon.ts'

const pageBytes = 4096

function map(options: Partial<MappingOptions> = {}) {
  return new (addon().Mapping)({ sizeBytes: 4 * pageBytes, backing: 'anonymous', ...options })
}

function temporaryFile(bytes: Uint8Array): { readonly path: string; [Symbol.dispose](): void } {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-memory-'))
  const path = join(folder, 'ram')
  writeFileSync(path, bytes)
  return { path, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) }
}

test('bytes are copied in and out across ranges', t => {
  const memory = new (addon().GuestMemory)()
  const mapping = map()
  memory.add(pageBytes, mapping, 2 * pageBytes, pageBytes)
  memory.add(2 * pageBytes, mapping, 0, pageBytes)
  mapping.close()
  const bytes = Uint8Array.of(1, 2, 3, 4)
  memory.write(2 * pageBytes - 2, bytes)
  t.deepEqual(memory.read(2 * pageBytes - 2, 4), bytes)
  t.deepEqual(memory.read(2 * pageBytes, 2), Uint8Array.of(3, 4))
  memory.fill(2 * pageBytes - 1, 9, 2)
  t.deepEqual(memory.read(2 * pageBytes - 2, 4), Uint8Array.of(1, 9, 9, 4))
  memory.close()
})

test('a view of an array is written, not the whole buffer behind it', t => {
  const memory = new (addon().GuestMemory)()
  memory.add(0, map(), 0, pageBytes)
  memory.write(1, Uint8Array.of(1, 2, 3, 4).subarray(1, 3))
  t.deepEqual(memory.read(0, 5), Uint8Array.of(0, 2, 3, 0, 0))
  memory.close()
})

test('what is not RAM is refused as a whole, wherever it begins', async t => {
  const memory = new (addon().GuestMemory)()
  memory.add(4 * pageBytes, map(), 0, 4 * pageBytes)
  const isRam = (address: number, lengthBytes: number) =>
    lengthBytes === 0 || (address >= 4 * pageBytes && address + lengthBytes <= 8 * pageBytes)
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 12 * pageBytes }),
      fc.integer({ min: 0, max: 6 * pageBytes }),
      (address, length) => {
        const write = () => memory.write(address, new Uint8Array(length).fill(1))
        const isTaken = (() => {
          try {
            write()
            return true
          } catch {
            return false
          }
        })()
        return isTaken === isRam(address, length)
      },
    ),
  )
  const highest = Number.MAX_SAFE_INTEGER
  for (const access of [
    () => memory.read(highest, 2),
    () => memory.write(highest, Uint8Array.of(1)),
    () => memory.fill(highest, 0, highest),
  ]) {
    t.throws(access, { code: 'EFAULT' })
  }
  await t.throwsAsync(memory.loadFile(highest, 0, 0, 1), { code: 'EFAULT' })
  t.throws(() => memory.read(-1, 1), { instanceOf: RangeError })
  t.throws(() => memory.read(0.5, 1), { instanceOf: RangeError })
  t.throws(() => memory.read(Number.NaN, 1), { instanceOf: RangeError })
  memory.close()
  t.throws(() => memory.read(4 * pageBytes, 1), { message: /closed/ })
})

test('a file is loaded from its offset and must be long enough', async t => {
  using file = temporaryFile(Uint8Array.from({ length: 100 }, (_, index) => index))
  const memory = new (addon().GuestMemory)()
  const mapping = map()
  memory.add(0, mapping, 0, pageBytes)
  memory.add(pageBytes, mapping, 3 * pageBytes, pageBytes)
  const fd = openSync(file.path, 'r')
  await memory.loadFile(pageBytes - 10, fd, 50, 20)
  t.deepEqual(
    memory.read(pageBytes - 10, 20),
    Uint8Array.from({ length: 20 }, (_, index) => 50 + index),
  )
  await t.throwsAsync(memory.loadFile(0, fd, 90, 11), { code: 'EIO' })
  closeSync(fd)
  const error = await t.throwsAsync(memory.loadFile(0, fd, 0, 1), { code: 'EBADF' })
  t.like(error, { syscall: 'pread' })
  memory.close()
})

test('ranges may not overlap, leave their mapping or cut pages', t => {
  const memory = new (addon().GuestMemory)()
  const mapping = map()
  memory.add(pageBytes, mapping, 0, pageBytes)
  t.throws(() => memory.add(pageBytes, mapping, pageBytes, pageBytes), { code: 'EEXIST' })
  t.throws(() => memory.add(0, mapping, 0, 0), { code: 'EINVAL' })
  t.throws(() => memory.add(1, mapping, 0, pageBytes), { code: 'EINVAL' })
  t.throws(() => memory.add(8 * pageBytes, mapping, 2 * pageBytes, 3 * pageBytes), { code: 'EINVAL' })
  t.throws(() => memory.remove(0), { code: 'ENOENT' })
  memory.remove(pageBytes)
  t.throws(() => memory.read(pageBytes, 1), { code: 'EFAULT' })
  memory.close()
})

test('discarded memory reads as zeroes, also where it is the private copy of a file', t => {
  using file = temporaryFile(new Uint8Array(4 * pageBytes).fill(7))
  const cases: readonly Partial<MappingOptions>[] = [
    {},
    { shared: true },
    { backing: 'memfd' },
    { backing: 'memfd', shared: true },
    { backing: 'file', path: file.path },
  ]
  for (const options of cases) {
    const memory = new (addon().GuestMemory)()
    const mapping = map({ ...options, prefault: true })
    memory.add(0, mapping, 0, mapping.sizeBytes)
    memory.fill(0, 1, mapping.sizeBytes)
    mapping.discard()
    t.is(memory.read(pageBytes, 1)[0], 0, JSON.stringify(options))
    mapping.close()
    memory.close()
  }
  t.is(readFileSync(file.path)[0], 7)
})

test('a mapping that cannot be made says which call failed', t => {
  t.throws(() => map({ backing: 'file', path: '/nowhere' }), { code: 'ENOENT' })
  t.throws(() => map({ sizeBytes: 1 }), { code: 'EINVAL' })
  t.throws(() => map({ hugePageBytes: 12_345 }), { code: 'EINVAL' })
  t.throws(() => map({ hostNumaNode: 1000 }), { message: /mbind/ })
  const mapping = map()
  t.is(mapping.fd, -1)
  mapping.close()
  mapping.close()
  t.throws(() => mapping.discard(), { message: /closed/ })
})

test('a closed event descriptor stays closed', t => {
  const eventFd = new (addon().EventFd)()
  eventFd.signal()
  t.true(eventFd.isPending())
  t.true(eventFd.drain())
  t.false(eventFd.drain())
  eventFd.close()
  eventFd.close()
  t.is(eventFd.fd, -1)
  t.throws(() => eventFd.signal(), { message: /closed/ })
})
