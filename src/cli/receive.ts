import * as z from 'zod/mini'
import { receiveMigrationSchema, receiveRequest } from '../api/migration-requests.ts'
import { describeIssue, seldomChecked } from '../util/issues.ts'
import type { ArrivalOptions } from '../vmm/arrival.ts'
import type { MachineFlags } from './config.ts'
import { receiveMigrationKeys } from './keys.ts'
import { invalid, parseOption, withFirstKey } from './options.ts'
import { overridesOf } from './overrides.ts'

/** What --receive-migration and the flags beside it ask for. Throws ERR_OPTION_INVALID, naming flag and key. */
export function receiveOf(keys: string, flags: MachineFlags): { url: string; options: ArrivalOptions } {
  const overrides = overridesOf(flags, 'the other host')
  const given = parseOption('--receive-migration', withFirstKey(keys, receiveMigrationKeys), receiveMigrationKeys)
  const result = z.safeParse(receiveMigrationSchema, given, seldomChecked)
  if (!result.success) {
    const [issue] = result.error.issues
    const { path, reason } = issue === undefined ? { path: [], reason: 'is not valid' } : describeIssue(issue)
    throw invalid('--receive-migration', [...path, reason].join(': '))
  }
  const { url, options } = receiveRequest(result.data)
  return { url, options: { ...options, overrides } }
}
