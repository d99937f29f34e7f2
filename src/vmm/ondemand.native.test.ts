import { mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { settled } from '../config/settle.ts'
import { parseVmConfig } from '../config/vm-config.ts'
import { buildMachine } from '../machine/build.ts'
import { unheard } from '../machine/testing/unheard.ts'
import { Lineage } from '../snapshot/lineage.ts'
import { saveMachine } from '../snapshot/save.ts'
import { Vm } from './vm.ts'

test('a whole machine is restored on demand, saved again, and ends where its memory cannot be had', async t => {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-ondemand-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const path = join(place, 'one')
  const next = join(place, 'two')
  const kernel = join(place, 'kernel')
  writeFileSync(kernel, 'no kernel at all')
  const config = settled(
    parseVmConfig({ payload: { kernel }, memory: { size: 16 * 1024 * 1024 }, console: { mode: 'Off' } }),
  )
  const machine = await buildMachine(config, unheard)
  try {
    await t.throwsAsync(machine.load(), { code: 'ERR_KERNEL_FORMAT' })
    await machine.components.pause()
    const { ram } = machine
    const parts = { components: machine.components.components, ram, lineage: new Lineage(ram.dirtyPages) }
    const source = { ...parts, describeConfig: () => config, describeCpu: () => machine.describeCpu() }
    await saveMachine({ ...source, whilePaused: action => action() }, path, {})
  } finally {
    await machine.components.close()
  }
  {
    await using vm = await Vm.restore(path, { mode: 'ondemand' })
    await vm.snapshot(next, { parent: path })
  }
  await using again = await Vm.restore(next, { mode: 'ondemand' })
  // The reset vector's page, and all others that have something in them.
  const file = openSync(join(path, 'memory.img'), 'r+')
  writeSync(file, Buffer.alloc(16 * 1024 * 1024, 0x55))
  await t.throwsAsync(again.snapshot(join(place, 'three')), {
    code: 'ERR_VM_CRASHED',
    message: /its memory cannot be had: page \d+ /,
  })
  const exit = await again.wait()
  t.is(exit.kind, 'crash')
})
