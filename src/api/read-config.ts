import * as z from 'zod/mini'
import { withoutUnused } from '../config/unsupported.ts'
import { vmConfigSchema } from '../config/vm-config.ts'
import { seldomChecked } from '../util/issues.ts'

/**
 * A configuration without the fields that nobody knows: they are left out, as Cloud Hypervisor does, and told to
 * `onUnknown` by their path. Throws ERR_CONFIG_INVALID for known ones that are not supported yet; whether the rest is right
 * is not looked at.
 */
export function withoutUnknown(config: unknown, onUnknown: (path: string) => void): unknown {
  const candidate = withoutUnused(structuredClone(config))
  const { error } = z.safeParse(vmConfigSchema, candidate, seldomChecked)
  for (const issue of error?.issues ?? []) {
    if (issue.code !== 'unrecognized_keys') continue
    for (const key of issue.keys) {
      remove(candidate, issue.path, key)
      onUnknown([...issue.path, key].map(String).join('.'))
    }
  }
  return candidate
}

function remove(root: unknown, path: readonly PropertyKey[], key: string): void {
  let place = root
  for (const part of path) place = isObject(place) ? place[part] : undefined
  if (isObject(place)) delete place[key]
}

function isObject(value: unknown): value is Record<PropertyKey, unknown> {
  return typeof value === 'object' && value !== null
}
