import { type Overrides, overridesSchema } from '../vmm/overrides.ts'
import { parseChardev } from './chardev.ts'
import type { MachineFlags } from './config.ts'
import { flagsAmong, machineFlags } from './flags.ts'
import { diskKeys, memoryKeys, netKeys, rngKeys } from './keys.ts'
import { invalid, type OptionKeys, type OptionObject, parseOption } from './options.ts'

/** Flags that say where a machine that is made elsewhere finds what it had there; all others describe what it is. */
const overridingFlags = ['--disk', '--net', '--serial', '--console', '--debug-console', '--rng', '--memory']

/** What flags say of a machine that is not made of them. `who` does: `the snapshot`. Throws ERR_OPTION_INVALID. */
export function overridesOf(flags: MachineFlags, who: string): Overrides {
  const foreign = flagsAmong(machineFlags, { ...flags }).find(flag => !overridingFlags.includes(flag))
  if (foreign !== undefined) throw invalid(foreign, `is what ${who} says`)
  const { serial, console, debugConsole, rng, memory } = flags
  return overridesSchema.parse({
    disks: byId('--disk', flags.disk ?? [], diskKeys, ['path', 'direct'], who),
    net: byId('--net', flags.net ?? [], netKeys, ['tap', 'fds', 'mac', 'host_mac'], who),
    serial: target('--serial', serial, ['mode', 'file', 'socket'], who),
    console: target('--console', console, ['mode', 'file'], who),
    debug_console: target('--debug-console', debugConsole, ['mode', 'file'], who),
    rng: rng === undefined ? undefined : parseOption('--rng', rng, rngKeys),
    memory:
      memory === undefined ? undefined : only('--memory', parseOption('--memory', memory, memoryKeys), ramFields, who),
  })
}

const ramFields = ['shared', 'hugepages', 'hugepage_size', 'mergeable', 'prefault', 'thp']

function target(flag: string, text: string | undefined, fields: readonly string[], who: string) {
  return text === undefined ? undefined : only(flag, parseChardev(flag, text), fields, who)
}

function byId(flag: string, texts: readonly string[], keys: OptionKeys, fields: readonly string[], who: string) {
  const devices = texts.map(text => {
    const { id, ...device } = parseOption(flag, text, keys)
    if (typeof id !== 'string') throw invalid(flag, `id: is missing: it says which one of ${who} is meant`)
    return [id, only(flag, device, fields, who)] as const
  })
  return Object.fromEntries(devices)
}

function only(flag: string, given: OptionObject, fields: readonly string[], who: string): OptionObject {
  const other = Object.keys(given).find(field => !fields.includes(field))
  if (other !== undefined) throw invalid(flag, `${other}: is what ${who} says`)
  return given
}
