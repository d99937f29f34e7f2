import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { parseVmConfig } from '../config/vm-config.ts'
import { buildMachine } from '../machine/build.ts'
import type { RamImageForm } from '../memory/ram-image.ts'
import { inspectSnapshot, verifySnapshot } from './inspect.ts'
import { Lineage } from './lineage.ts'
import { saveMachine } from './save.ts'

const pageBytes = 4096

/** Of a machine that has not begun, with something in its memory. */
async function aSnapshot(t: ExecutionContext, form: RamImageForm): Promise<string> {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-inspect-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const path = join(place, 'one')
  const kernel = join(place, 'kernel')
  writeFileSync(kernel, 'no kernel at all')
  const config = parseVmConfig({ payload: { kernel }, memory: { size: 16 * 1024 * 1024 }, console: { mode: 'Off' } })
  const nothing = () => {}
  const events = {
    ...{ powerOff: nothing, reset: nothing, crash: nothing, debugCode: nothing, needsReset: nothing, quit: nothing },
  }
  const machine = await buildMachine(config, events)
  try {
    await t.throwsAsync(machine.load(), { code: 'ERR_KERNEL_FORMAT' })
    await machine.components.pause()
    const { components } = machine.components
    const { ram } = machine
    const describeCpu = () => machine.describeCpu()
    const source = { config, components, ram, lineage: new Lineage(ram.dirtyPages), describeCpu }
    await saveMachine({ ...source, whilePaused: action => action() }, path, { memory: form })
  } finally {
    await machine.components.close()
  }
  return path
}

for (const form of ['image', 'zstd'] as const) {
  test(`a snapshot is told apart from what is not what was written, whatever bit it is (${form})`, async t => {
    const path = await aSnapshot(t, form)
    await verifySnapshot(path)
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
      // Not every byte of the manifest says something: the name of who wrote it, or a space.
      if (name === 'manifest.json' && error === undefined) return !isCut || place >= bytes.length - 1
      const isNamed = error instanceof Error && 'code' in error && !error.message.includes('\n')
      return isNamed && ['ERR_SNAPSHOT', 'ERR_MEMORY_IMAGE', 'ERR_STATE_INVALID'].includes(String(error.code))
    }
    await fc.assert(fc.asyncProperty(fc.constantFrom(...names).chain(damages), isFound), { numRuns: 200 })
    await verifySnapshot(path)
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
