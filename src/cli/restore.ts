import { RequestDescriptors } from '../api/request-descriptors.ts'
import { restoreRequest, restoreSchema } from '../api/snapshot-requests.ts'
import { seldomChecked } from '../util/issues.ts'
import { type Overrides, overridesSchema } from '../vmm/overrides.ts'
import type { RestoreOptions } from '../vmm/restore.ts'
import { parseChardev } from './chardev.ts'
import type { MachineFlags } from './config.ts'
import { flagsAmong, machineFlags } from './flags.ts'
import { diskKeys, memoryKeys, netKeys, restoreKeys, rngKeys } from './keys.ts'
import { invalid, type OptionKeys, type OptionObject, parseOption, withFirstKey } from './options.ts'
import { descriptorsByCard } from './request-fds.ts'

/** Flags that say where a restored machine finds what it had elsewhere; all others describe what is in the snapshot. */
const overridingFlags = ['--disk', '--net', '--serial', '--console', '--debug-console', '--rng', '--memory']

export interface RestoreFlags extends MachineFlags {
  /** The keys of --restore, or the directory of the command. */
  readonly restore: string
}

/** What --restore and the flags beside it ask for. Throws ERR_OPTION_INVALID, naming flag and key. */
export function restoreOf(flags: RestoreFlags, resumes: boolean): { path: string; options: RestoreOptions } {
  const foreign = flagsAmong(machineFlags, { ...flags }).find(flag => !overridingFlags.includes(flag))
  if (foreign !== undefined) throw invalid(foreign, 'is what the snapshot says')
  const { net_fds, ...given } = parseOption('--restore', withFirstKey(flags.restore, restoreKeys), restoreKeys)
  const body = restoreSchema.parse({ resume: resumes, ...given }, seldomChecked)
  const { path, options } = restoreRequest(body, RequestDescriptors.none)
  const { memory, net, ...overrides } = overridesOf(flags)
  return {
    path,
    options: {
      ...options,
      overrides: {
        ...overrides,
        net: withDescriptors(net ?? {}, net_fds),
        memory: { ...memory, ...options.overrides?.memory },
      },
    },
  }
}

function withDescriptors(net: NonNullable<Overrides['net']>, given: unknown): Overrides['net'] {
  const cards = descriptorsByCard(given)
  const twice = cards.find(({ id }) => net[id]?.fds !== undefined)
  if (twice !== undefined) throw invalid('--restore', `net_fds: ${twice.id} has descriptors from --net already`)
  return { ...net, ...Object.fromEntries(cards.map(({ id, fds }) => [id, { ...net[id], fds: [...fds] }])) }
}

function overridesOf(flags: RestoreFlags): Overrides {
  const { serial, console, debugConsole, rng, memory } = flags
  return overridesSchema.parse({
    disks: byId('--disk', flags.disk ?? [], diskKeys, ['path', 'direct']),
    net: byId('--net', flags.net ?? [], netKeys, ['tap', 'fds', 'mac', 'host_mac']),
    serial: target('--serial', serial, ['mode', 'file', 'socket']),
    console: target('--console', console, ['mode', 'file']),
    debug_console: target('--debug-console', debugConsole, ['mode', 'file']),
    rng: rng === undefined ? undefined : parseOption('--rng', rng, rngKeys),
    memory: memory === undefined ? undefined : only('--memory', parseOption('--memory', memory, memoryKeys), ramFields),
  })
}

const ramFields = ['shared', 'hugepages', 'hugepage_size', 'mergeable', 'prefault', 'thp']

function target(flag: string, text: string | undefined, fields: readonly string[]): OptionObject | undefined {
  return text === undefined ? undefined : only(flag, parseChardev(flag, text), fields)
}

function byId(flag: string, texts: readonly string[], keys: OptionKeys, fields: readonly string[]) {
  const devices = texts.map(text => {
    const { id, ...device } = parseOption(flag, text, keys)
    if (typeof id !== 'string') throw invalid(flag, 'id: is missing: it says which one of the snapshot is meant')
    return [id, only(flag, device, fields)] as const
  })
  return Object.fromEntries(devices)
}

function only(flag: string, given: OptionObject, fields: readonly string[]): OptionObject {
  const other = Object.keys(given).find(field => !fields.includes(field))
  if (other !== undefined) throw invalid(flag, `${other}: is what the snapshot says`)
  return given
}
