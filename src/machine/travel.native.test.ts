import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { settled } from '../config/settle.ts'
import { parseVmConfig } from '../config/vm-config.ts'
import { acpiGedState } from '../devices/acpi-ged-state.ts'
import { loadAll, saveAll } from '../state/walk.ts'
import { buildMachine } from './build.ts'
import { stateSchemas } from './state-schemas.ts'
import { unheard } from './testing/unheard.ts'

/** With every kind of component but a card, which needs a network of the host's. */
function aConfig(t: ExecutionContext) {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-travel-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const disk = join(place, 'disk')
  writeFileSync(disk, '')
  truncateSync(disk, 1024 * 1024)
  return settled(
    parseVmConfig({
      payload: { kernel: '/nowhere' },
      cpus: { boot_vcpus: 2 },
      memory: { size: 64 * 1024 * 1024 },
      disks: [
        { path: disk, readonly: true, rate_limiter_config: { bandwidth: { size: 1000, refill_time: 1000 } } },
        { path: disk, readonly: true, rate_limit_group: 'slow' },
      ],
      rate_limit_groups: [{ id: 'slow', rate_limiter_config: { ops: { size: 10, refill_time: 1000 } } }],
      console: { mode: 'Null' },
    }),
  )
}

async function build(t: ExecutionContext, config: ReturnType<typeof aConfig>) {
  const machine = await buildMachine(config, unheard)
  t.teardown(() => machine.components.close())
  await machine.components.pause()
  return machine
}

async function aMachine(t: ExecutionContext, config: ReturnType<typeof aConfig>) {
  return (await build(t, config)).components.components
}

test('what every component of a machine saves, the one of another machine loads and saves again', async t => {
  const config = aConfig(t)
  const [one, other] = [await aMachine(t, config), await aMachine(t, config)]
  const records = saveAll(one)
  loadAll(other, records)
  const again = saveAll(other)
  t.deepEqual(
    again.map(({ component }) => component),
    records.map(({ component }) => component),
  )
  for (const [place, { component, body }] of records.entries()) t.deepEqual(again[place]?.body, body, component)
})

test('a machine that goes on from a saved state has a new identity, and an event waits that says so', async t => {
  const config = aConfig(t)
  const records = saveAll(await aMachine(t, config))
  const bodies = (name: string, all = records) => all.find(({ component }) => component === name)?.body
  const clones = [await build(t, config), await build(t, config)]
  const saved = clones.map(clone => {
    loadAll(clone.components.components, records)
    clone.newGeneration()
    return saveAll(clone.components.components)
  })
  const ids = [records, ...saved].map(all => Buffer.from(bodies('__vm_generation_id', all) ?? []).toString('hex'))
  t.is(new Set(ids).size, 3)
  for (const all of saved) {
    t.notDeepEqual(bodies('__vm_clock', all), bodies('__vm_clock'))
    t.deepEqual(bodies('__acpi_ged', all), acpiGedState.encode({ pendingEvents: 0x30 }).body)
  }
})

test('every record has a schema in the list, and every component says what travels', async t => {
  const components = await aMachine(t, aConfig(t))
  const known = new Set(stateSchemas.map(({ id }) => id))
  for (const { name, state } of components) {
    if (state.kind === 'saved') t.true(known.has(state.part.schema.id), name)
    else t.is(state.kind, 'stateless', name)
  }
})
