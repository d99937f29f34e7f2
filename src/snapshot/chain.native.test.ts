import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { verifySnapshot } from './inspect.ts'
import { readManifest } from './layers.ts'
import { mergeSnapshot } from './merge.ts'
import { PlainMachine, plainPages } from './testing/plain-machine.native.ts'

const code = 'ERR_SNAPSHOT'
const pageBytes = 4096
/** These tests lose no power. */
const fast = { durability: 'none' } as const

function aPlace(t: ExecutionContext): string {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-chain-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  return place
}

const page = (value: number) => new Uint8Array(pageBytes).fill(value)

async function restored(path: string, mode: 'cow' | 'copy'): Promise<Buffer> {
  using machine = await PlainMachine.restore(path, mode)
  return machine.contents()
}

const write = fc.record({
  page: fc.nat(plainPages - 1),
  count: fc.constantFrom(1, 1, 1, 3, 40),
  value: fc.constantFrom(0, 1, 2, 3),
})
const step = fc.record({
  writes: fc.array(write, { maxLength: 12 }),
  /** While it is saved live, until it is paused. */
  meanwhile: fc.array(write, { maxLength: 4 }),
  /** From the moment on at which it was paused. */
  afterwards: fc.array(write, { maxLength: 12 }),
  form: fc.constantFrom('image', 'image', 'zstd'),
  live: fc.constantFrom('no', 'rounds', 'frozen'),
  /** How many snapshots back the parent is; none where there are not so many. */
  parent: fc.constantFrom(0, 1, 1, 1, 2),
  /** What the machine goes on as. */
  next: fc.constantFrom('same', 'same', 'cow', 'copy', 'ondemand', 'ondemand'),
} as const)

test('whatever is saved on whatever, what was there is restored', async t => {
  const place = aPlace(t)
  let run = 0
  const ways = new Set<string>()
  const holds = async (
    kind: 'plain' | 'shared' | 'merged',
    steps: (typeof step extends fc.Arbitrary<infer S> ? S : never)[],
  ) => {
    run += 1
    const paths: string[] = []
    let machine = await PlainMachine.create(kind)
    try {
      for (const [number, { writes, meanwhile, afterwards, form, live, parent, next }] of steps.entries()) {
        const apply = (each: typeof writes) => {
          for (const { page: first, count, value } of each) {
            for (let at = first; at < Math.min(first + count, plainPages); at += 1) machine.write(at, page(value))
          }
        }
        apply(writes)
        const path = join(place, `${run}-${number}`)
        const below = parent === 0 ? undefined : paths.at(-parent)
        const options = {
          ...(live === 'frozen' && { pauseLimit: 0 }),
          memory: form,
          live: live !== 'no',
          durability: 'none',
          ...(below && { parent: below }),
        } as const
        let contents: Buffer = Buffer.alloc(0)
        const manifest = await machine.save(path, options, {
          beforePause: () => apply(meanwhile),
          afterPause: () => {
            contents = machine.contents()
            apply(afterwards)
          },
          onLive: ({ rest, reason = '' }) => ways.add(`${rest} ${reason !== ''}`),
        })
        if ((manifest.parent !== undefined) !== (below !== undefined)) return false
        paths.push(path)
        await verifySnapshot(path)
        if (!(await restored(path, 'copy')).equals(contents)) return false
        if (next === 'same') continue
        const mode = next === 'cow' && !(await isMappable(path)) ? 'copy' : next
        machine[Symbol.dispose]()
        machine = await PlainMachine.restore(path, mode)
        // Some go on before all is there.
        if (mode !== 'ondemand' && !machine.contents().equals(contents)) return false
      }
    } finally {
      machine[Symbol.dispose]()
      for (const path of paths) rmSync(path, { recursive: true })
    }
    return true
  }
  const kind = fc.constantFrom('plain', 'plain', 'shared', 'merged')
  await fc.assert(fc.asyncProperty(kind, fc.array(step, { minLength: 1, maxLength: 6 }), holds), { numRuns: 30 })
  t.deepEqual([...ways].toSorted(), ['frozen false', 'paused false', 'paused true'])
})

async function isMappable(path: string): Promise<boolean> {
  const { memory, parent } = await readManifest(path)
  return memory.form === 'image' && (parent === undefined || (await isMappable(join(path, parent.path))))
}

test('on top of its parent a snapshot has what was written since', async t => {
  const place = aPlace(t)
  const [one, two, three] = [join(place, 'one'), join(place, 'two'), join(place, 'three')]
  using machine = await PlainMachine.create()
  for (let at = 0; at < 200; at += 1) machine.write(at, page(1))
  const { id } = await machine.save(one, fast)
  machine.write(7, page(2))
  const manifest = await machine.save(two, { ...fast, parent: one, memory: 'zstd' })
  t.deepEqual(manifest.parent, { path: '../one', id })
  t.deepEqual(manifest.features, ['incremental'])
  machine.write(8, page(0))
  machine.write(700, page(3))
  // That it is as its parent has it is not worth a place in it.
  machine.write(9, page(1))
  await machine.save(three, { ...fast, parent: two })
  const contents = machine.contents()
  t.deepEqual(await restored(three, 'copy'), contents)
  // They may all move.
  const moved = join(place, 'elsewhere')
  for (const path of [one, two, three]) cpSync(path, join(moved, path.slice(place.length)), { recursive: true })
  t.deepEqual(await restored(join(moved, 'three'), 'copy'), contents)
})

test('a snapshot whose parent is gone, other or replaced says so', async t => {
  const place = aPlace(t)
  const [one, two] = [join(place, 'one'), join(place, 'two')]
  using machine = await PlainMachine.create()
  machine.write(1, page(1))
  await machine.save(one, fast)
  await machine.save(two, { ...fast, parent: one })
  await t.throwsAsync(machine.save(one, { ...fast, parent: two, overwrite: true }), {
    code,
    message: `snapshot ${one}: it cannot take the place of a snapshot that it stands on`,
  })
  await machine.save(one, { ...fast, overwrite: true })
  await t.throwsAsync(verifySnapshot(two), {
    code,
    message: `snapshot ${two}: ${one} is not the snapshot any more that this one stands on`,
  })
  rmSync(one, { recursive: true })
  await t.throwsAsync(verifySnapshot(two), {
    code,
    message: `snapshot ${one}/manifest.json: no such file or directory`,
  })
  await t.throwsAsync(machine.save(join(place, 'three'), { ...fast, parent: one }), { code })
})

test('what was given up or failed is looked at again', async t => {
  const place = aPlace(t)
  const [one, two, three] = [join(place, 'one'), join(place, 'two'), join(place, 'three')]
  using machine = await PlainMachine.create()
  machine.write(1, page(1))
  await machine.save(one, fast)
  await machine.save(two, { ...fast, parent: one })
  machine.write(2, page(2))
  const given = new AbortController()
  const options = { ...fast, parent: two, live: true, signal: given.signal }
  const failed = machine.save(three, options, { beforePause: () => given.abort(new Error('enough')) })
  await t.throwsAsync(failed, { message: 'enough' })
  machine.write(3, page(3))
  await machine.save(three, { ...fast, parent: two })
  t.deepEqual(await restored(three, 'copy'), machine.contents())
  t.true(machine.vm.dirtyPages.isTracking, 'the next one will know what was written')
})

test('a snapshot that is taken live is given up once the machine goes on', async t => {
  const place = aPlace(t)
  const [one, two] = [join(place, 'one'), join(place, 'two')]
  using machine = await PlainMachine.create()
  for (let at = 0; at < plainPages; at += 1) machine.write(at, page(1))
  await machine.save(one, fast)
  const given = new AbortController()
  const ways: string[] = []
  const failed = machine.save(
    two,
    { ...fast, parent: one, live: true, pauseLimit: 0, signal: given.signal },
    {
      onLive: ({ rest }) => ways.push(rest),
      afterPause: () => {
        given.abort(new Error('enough'))
        for (let at = 0; at < plainPages; at += 2) machine.write(at, page(2))
      },
    },
  )
  await t.throwsAsync(failed, { message: 'enough' })
  t.deepEqual(ways, ['frozen'])
  t.deepEqual(readdirSync(place), ['one'])
  await machine.save(two, { ...fast, parent: one, live: true, pauseLimit: 0 })
  t.deepEqual(await restored(two, 'copy'), machine.contents())
})

test('a chain is merged into one that stands on nothing', async t => {
  const place = aPlace(t)
  const [one, two, three, whole] = [join(place, 'one'), join(place, 'two'), join(place, 'three'), join(place, 'whole')]
  using machine = await PlainMachine.create()
  for (let at = 0; at < plainPages; at += 3) machine.write(at, page(1))
  await machine.save(one, fast)
  machine.write(3, page(0))
  machine.write(4, page(2))
  await machine.save(two, { ...fast, parent: one, memory: 'zstd' })
  machine.write(400, page(2))
  writeFileSync(join(place, 'disk'), 'of three')
  const disks = [{ path: join(place, 'disk') }]
  const saved = await machine.save(three, { ...fast, parent: two, disks: 'copy' }, { disks })
  for (const [path, memory] of [
    [three, 'image'],
    [one, 'zstd'],
  ] as const) {
    const manifest = await mergeSnapshot(path, whole, { ...fast, memory, overwrite: true })
    t.is(manifest.parent, undefined)
    t.not(manifest.id, saved.id)
    t.deepEqual(manifest.disks, path === three ? saved.disks : undefined)
    t.is(existsSync(join(whole, 'disk0.img')), path === three)
    await verifySnapshot(whole)
    t.deepEqual(await restored(whole, 'copy'), await restored(path, 'copy'))
  }
  rmSync(one, { recursive: true })
  await t.throwsAsync(mergeSnapshot(two, join(place, 'no'), {}), { code })
  t.deepEqual(readdirSync(place).toSorted(), ['disk', 'three', 'two', 'whole'])
})
