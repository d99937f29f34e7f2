import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import type { RamImageForm } from '../memory/ram-image.ts'
import { inspectSnapshot, verifySnapshot } from './inspect.ts'
import { saveBuiltMachine } from './testing/built-machine.native.ts'

const pageBytes = 4096

/** Of a machine that has not begun, with something in its memory. */
async function aSnapshot(t: ExecutionContext, form: RamImageForm): Promise<string> {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-inspect-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  return await saveBuiltMachine(place, 'one', { console: { mode: 'Off' } }, { memory: form })
}

for (const form of ['image', 'zstd'] as const) {
  test(`a snapshot is told apart from what is not what was written, whatever bit it is (${form})`, async t => {
    const path = await aSnapshot(t, form)
    await t.notThrowsAsync(verifySnapshot(path))
    const names = readdirSync(path)
    const whole = new Map(names.map(name => [name, readFileSync(join(path, name))]))
    const damages = (name: string) => {
      const length = whole.get(name)?.length ?? 0
      return fc.record({ name: fc.constant(name), place: fc.nat(length - 1), bit: fc.nat(7), isCut: fc.boolean() })
    }
    const isFound = async ({
      name,
      place,
      bit,
      isCut,
    }: {
      name: string
      place: number
      bit: number
      isCut: boolean
    }) => {
      const file = join(path, name)
      const bytes = Buffer.from(whole.get(name) ?? '')
      bytes[place] = (bytes[place] ?? 0) ^ (1 << bit)
      if (isCut) truncateSync(file, place)
      else writeFileSync(file, bytes)
      const error = await verifySnapshot(path).then(
        () => undefined,
        (each: unknown) => each,
      )
      writeFileSync(file, whole.get(name) ?? '')
      const isNamed = error instanceof Error && 'code' in error && !error.message.includes('\n')
      return isNamed && ['ERR_SNAPSHOT', 'ERR_MEMORY_IMAGE', 'ERR_STATE_INVALID'].includes(String(error.code))
    }
    await fc.assert(fc.asyncProperty(fc.constantFrom(...names).chain(damages), isFound), { numRuns: 200 })
    await t.notThrowsAsync(verifySnapshot(path))
  })
}

test('a report has the machine, its files and its components', async t => {
  const path = await aSnapshot(t, 'image')
  const { manifest, memoryBytes, bytesOnDisk } = await inspectSnapshot(path)
  t.is(memoryBytes, 16 * 1024 * 1024)
  t.true(manifest.components.some(({ name, schema }) => name === 'vcpu0' && schema === 'vcpu-x86_64'))
  const onDisk = bytesOnDisk['memory.img'] ?? 0
  t.true(onDisk >= pageBytes && onDisk < memoryBytes, `${onDisk} bytes: zero pages are holes`)
  await t.throwsAsync(inspectSnapshot('/nowhere'), { code: 'ERR_SNAPSHOT' })
})
