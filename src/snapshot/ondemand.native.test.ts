import { mkdtempSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { readManifest } from './layers.ts'
import { decodePrefetch, encodePrefetch } from './prefetch.ts'
import { PlainMachine, plainPages } from './testing/plain-machine.native.ts'

const pageBytes = 4096
const fast = { durability: 'none' } as const

function aPlace(t: ExecutionContext): string {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-ondemand-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  return place
}

async function aSnapshot(t: ExecutionContext, memory: 'image' | 'zstd') {
  const place = aPlace(t)
  const path = join(place, 'one')
  using machine = await PlainMachine.create()
  for (let page = 0; page < plainPages; page += 3) machine.write(page, new Uint8Array(pageBytes).fill(1 + (page % 250)))
  await machine.save(path, { ...fast, memory })
  return { place, path, contents: machine.contents() }
}

for (const memory of ['image', 'zstd'] as const) {
  test(`what nobody has touched yet is saved with what was (${memory})`, async t => {
    const { place, path, contents } = await aSnapshot(t, memory)
    for (const parent of [undefined, path]) {
      using machine = await PlainMachine.restore(path, 'ondemand')
      machine.write(700, new Uint8Array(pageBytes).fill(9))
      machine.write(3, new Uint8Array(pageBytes))
      contents.fill(9, 700 * pageBytes, 701 * pageBytes)
      contents.fill(0, 3 * pageBytes, 4 * pageBytes)
      const next = join(place, parent === undefined ? 'whole' : 'above')
      await machine.save(next, { ...fast, ...(parent === undefined ? {} : { parent }) })
      t.true(readdirSync(next).includes('memory.prefetch'))
      using again = await PlainMachine.restore(next, 'ondemand')
      t.true(again.contents().equals(contents))
    }
  })
}

test('what was touched is listed in the next snapshot, in order, and what that one brings in stays in the list', async t => {
  const { place, path } = await aSnapshot(t, 'image')
  const next = join(place, 'two')
  using machine = await PlainMachine.restore(path, 'ondemand')
  t.is((await readManifest(path)).files['memory.prefetch'], undefined)
  machine.write(640, Uint8Array.of(1))
  machine.write(33, Uint8Array.of(1))
  t.deepEqual(machine.pager?.touchedPages(), Uint32Array.of(640, 33))
  await machine.save(next, { ...fast, memory: 'image' })
  t.truthy((await readManifest(next)).files['memory.prefetch']?.sha256)
  using again = await PlainMachine.restore(next, 'ondemand')
  again.write(320, Uint8Array.of(1))
  t.deepEqual(again.pager?.touchedPages(), Uint32Array.of(640, 33, 320))
})

test('a page that is not what was written is told, and nobody waits for it for ever', async t => {
  const { path } = await aSnapshot(t, 'image')
  const failure = Promise.withResolvers<string>()
  using machine = await PlainMachine.restore(path, 'ondemand', failure.resolve)
  const file = openSync(join(path, 'memory.img'), 'r+')
  writeSync(file, Uint8Array.of(0xff), 0, 1, 9 * pageBytes)
  // This thread reads zeroes: it is the one that has to stop the machine.
  t.is(machine.vm.memory.read(9 * pageBytes, 1)[0], 0)
  t.regex(await failure.promise, /^page 9 of the memory image: .*checksum/)
  machine.pager?.abandon()
})

test('a list of pages is checked', t => {
  const pages = Uint32Array.of(3, 70_000, 0)
  t.deepEqual(decodePrefetch(Buffer.from(encodePrefetch(pages)), 70_001), pages)
  t.throws(() => decodePrefetch(Buffer.alloc(3), 10), { message: 'it is no list of pages' })
  t.throws(() => decodePrefetch(Buffer.from(encodePrefetch(pages)), 70_000), { message: /page 70000 is beyond/ })
})
