import { dirname } from 'node:path'
import { startupSnapshot } from 'node:v8'
import { bundleLocation } from '../util/bundle-location.ts'
import { rehearseBoot } from '../vmm/rehearsal.native.ts'
import { configOf, type MachineFlags } from './config.ts'
import { createProgram, main, prepareMain } from './program.ts'
// What is loaded on first use elsewhere, and can be in a snapshot: Node's HTTP cannot.
import './run.ts'
import './restore.ts'
import '../api/routes.ts'
import '../snapshot/save.ts'
import '../snapshot/read.ts'
import '../vmm/fork.ts'
import '../vmm/restore.ts'

/**
 * Becomes a startup snapshot of Node: the heap of a process that has loaded all that a machine takes, and has booted one, which
 * the launcher (native/launcher) starts from. Its arguments are those of the rehearsal.
 */
startupSnapshot.setDeserializeMainFunction(async () => {
  // The launcher names the snapshot right behind its flag.
  const [, snapshot = ''] = process.execArgv
  bundleLocation.folder = dirname(snapshot)
  bundleLocation.isFromSnapshot = true
  process.exitCode = await main(process.argv)
})

const flags = createProgram().parse(process.argv).opts<MachineFlags>()
// The snapshot is taken when nothing is left to do; what fails in it ends the process.
void rehearseBoot(configOf(flags)).then(prepareMain)
