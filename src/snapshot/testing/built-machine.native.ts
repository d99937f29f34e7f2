import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { settled } from '../../config/settle.ts'
import { parseVmConfig, type VmConfigInput } from '../../config/vm-config.ts'
import { buildMachine } from '../../machine/build.ts'
import { unheard } from '../../machine/testing/unheard.ts'
import { Lineage } from '../lineage.ts'
import { saveMachine } from '../save.ts'
import type { SnapshotOptions } from '../write.ts'

/** Saves a machine that has not begun, with firmware tables in its memory and no kernel, into `place/name`. */
export async function saveBuiltMachine(
  place: string,
  name: string,
  more: Partial<VmConfigInput>,
  options: SnapshotOptions = {},
): Promise<string> {
  const path = join(place, name)
  const kernel = join(place, 'kernel')
  writeFileSync(kernel, 'no kernel at all')
  const config = settled(parseVmConfig({ payload: { kernel }, memory: { size: 16 * 1024 * 1024 }, ...more }))
  const machine = await buildMachine(config, unheard)
  try {
    // The tables come first.
    await machine.load().catch(() => {})
    await machine.components.pause()
    const { components } = machine.components
    const { ram } = machine
    const describeCpu = () => machine.describeCpu()
    const source = { components, ram, lineage: new Lineage(ram.dirtyPages), describeConfig: () => config, describeCpu }
    await saveMachine({ ...source, whilePaused: action => action() }, path, options)
  } finally {
    await machine.components.close()
  }
  return path
}
