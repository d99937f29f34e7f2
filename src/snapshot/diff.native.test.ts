import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { diffSnapshots } from './diff.ts'
import { saveBuiltMachine } from './testing/built-machine.native.ts'
import { PlainMachine, plainPages } from './testing/plain-machine.native.ts'

test('configurations and components differ field by field', async t => {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-diff-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const rng = { pci_device_id: 2 }
  const first = await saveBuiltMachine(place, 'first', { rng, console: { mode: 'Off', pci_device_id: 1 } })
  const second = await saveBuiltMachine(place, 'second', { rng, console: { mode: 'Null' } })
  const { config, components, memory } = await diffSnapshots(first, second)
  t.deepEqual(config, [{ field: 'console.mode', first: '"Off"', second: '"Null"' }])
  const console = components.filter(({ onlyIn }) => onlyIn !== undefined)
  t.deepEqual(
    console.map(({ onlyIn, fields }) => [onlyIn, fields]),
    console.map(() => ['second', []]),
  )
  t.true(
    console.some(({ name }) => name.includes('console')),
    JSON.stringify(components),
  )
  // Each began at a time of its own.
  t.deepEqual(
    components
      .find(({ name }) => name === 'vm')
      ?.fields.map(({ field }) => field)
      .toSorted(),
    ['hostMs', 'nowNs'],
  )
  t.is(memory?.pages, 4096)
  const back = await diffSnapshots(second, first)
  t.true(back.components.some(({ onlyIn }) => onlyIn === 'first'))
})

test('snapshots differ in the pages that were written in between, whatever form they are kept in', async t => {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-diff-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  using machine = await PlainMachine.create()
  const one = Uint8Array.of(1)
  for (let page = 0; page < plainPages; page += 3) machine.write(page, one)
  const [first, same, child] = [join(place, 'first'), join(place, 'same'), join(place, 'child')]
  await machine.save(first, { durability: 'none' })
  await machine.save(same, { durability: 'none', memory: 'zstd' })
  t.deepEqual(await diffSnapshots(first, same), {
    config: [],
    components: [],
    memory: { pages: plainPages, differingPages: 0 },
  })
  // Written, but not changed; changed; back to zero; the last one of all.
  machine.write(3, one)
  machine.write(6, Uint8Array.of(2))
  machine.write(9, Uint8Array.of(0))
  machine.write(plainPages - 1, Uint8Array.of(4))
  await machine.save(child, { durability: 'none', parent: first })
  for (const [left, right] of [
    [first, child],
    [child, same],
  ] as const) {
    const { memory } = await diffSnapshots(left, right)
    t.deepEqual(memory, { pages: plainPages, differingPages: 3 })
  }
})
