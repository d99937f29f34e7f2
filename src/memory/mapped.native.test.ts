import test from 'ava'
import { MappedMemory, type MappedRamOptions } from './mapped.native.ts'

const pageBytes = 4096
const plain: MappedRamOptions = {
  ...{ shared: false, hugePageBytes: 0, mergeable: false, prefault: false, thp: false, reserve: true },
}

test('regions added in any order are listed ascending and read as one memory', t => {
  const memory = new MappedMemory()
  memory.map(2 * pageBytes, pageBytes, plain)
  memory.map(pageBytes, pageBytes, { ...plain, shared: true })
  t.deepEqual(
    memory.ranges.map(({ guestAddress, sizeBytes }) => [guestAddress, sizeBytes]),
    [
      [pageBytes, pageBytes],
      [2 * pageBytes, pageBytes],
    ],
  )
  memory.write(2 * pageBytes - 1, Uint8Array.of(1, 2))
  t.deepEqual(memory.read(2 * pageBytes - 2, 4), Uint8Array.of(0, 1, 2, 0))
  memory.clear()
  t.deepEqual(memory.read(2 * pageBytes - 2, 4), new Uint8Array(4))
  memory.close()
  memory.close()
})

test('only shared memory has a descriptor to pass on', t => {
  const memory = new MappedMemory()
  t.is(memory.map(0, pageBytes, plain).mapping.fd, -1)
  t.true(memory.map(pageBytes, pageBytes, { ...plain, shared: true }).mapping.fd >= 0)
  memory.close()
})

test('an access outside names its place', async t => {
  const memory = new MappedMemory()
  memory.map(0, pageBytes, plain)
  const error = { code: 'ERR_MEMORY' }
  t.throws(() => memory.read(0xffc, 8), {
    ...error,
    message: '--memory: cannot read 8 bytes at 0xffc: not all of it is RAM',
  })
  t.throws(() => memory.write(0x2000, Uint8Array.of(1)), { ...error, message: /write 1 bytes at 0x2000/ })
  t.throws(() => memory.fill(0x2000, 0, 1), { ...error, message: /fill 1 bytes/ })
  await t.throwsAsync(memory.loadFile(0x2000, 0, 0, 1), { ...error, message: /load 1 bytes/ })
  memory.close()
})

test('a region that overlaps another, or that the host cannot give, is refused', t => {
  const memory = new MappedMemory()
  memory.map(0, 2 * pageBytes, plain)
  t.throws(() => memory.map(pageBytes, pageBytes, plain), { code: 'ERR_MEMORY', message: /at 0x1000/ })
  t.throws(() => memory.map(0x10_0000, 2 ** 50, plain), { code: 'ERR_MEMORY', message: /mmap/ })
  t.is(memory.ranges.length, 1)
  memory.close()
})
