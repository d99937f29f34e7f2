import { RequestDescriptors } from '../api/request-descriptors.ts'
import { restoreRequest, restoreSchema } from '../api/snapshot-requests.ts'
import { seldomChecked } from '../util/issues.ts'
import type { Overrides } from '../vmm/overrides.ts'
import type { RestoreOptions } from '../vmm/restore.ts'
import type { MachineFlags } from './config.ts'
import { restoreKeys } from './keys.ts'
import { invalid, parseOption, withFirstKey } from './options.ts'
import { overridesOf } from './overrides.ts'
import { descriptorsByCard } from './request-fds.ts'

export interface RestoreFlags extends MachineFlags {
  /** The keys of --restore, or the directory of the command. */
  readonly restore: string
}

/** What --restore and the flags beside it ask for. Throws ERR_OPTION_INVALID, naming flag and key. */
export function restoreOf(flags: RestoreFlags, resumes: boolean): { path: string; options: RestoreOptions } {
  const { net_fds, ...given } = parseOption('--restore', withFirstKey(flags.restore, restoreKeys), restoreKeys)
  const body = restoreSchema.parse({ resume: resumes, ...given }, seldomChecked)
  const { path, options } = restoreRequest(body, RequestDescriptors.none)
  const { memory, net, ...overrides } = overridesOf(flags, 'the snapshot')
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
