import * as z from 'zod/mini'
import { withoutUnused } from '../config/unsupported.ts'
import { parseVmConfig, type VmConfig, vmConfigSchema } from '../config/vm-config.ts'

/**
 * Checks the configuration in a request. Fields that nobody knows are left out, as Cloud Hypervisor does, and told to
 * `onUnknown` by their path; known ones that are not supported yet are refused. Throws ERR_CONFIG_INVALID.
 */
export function readVmConfig(body: unknown, onUnknown: (path: string) => void): VmConfig {
  const candidate = withoutUnused(body)
  const { error } = z.safeParse(vmConfigSchema, candidate)
  for (const issue of error?.issues ?? []) {
    if (issue.code !== 'unrecognized_keys') continue
    for (const key of issue.keys) {
      remove(candidate, issue.path, key)
      onUnknown([...issue.path, key].map(String).join('.'))
    }
  }
  return parseVmConfig(candidate)
}

/** Removes a key of the object at `path` in `root`; withoutUnused has copied everything that has keys of its own. */
function remove(root: unknown, path: readonly PropertyKey[], key: string): void {
  let place = root
  for (const part of path) place = isObject(place) ? place[part] : undefined
  if (isObject(place)) delete place[key]
}

function isObject(value: unknown): value is Record<PropertyKey, unknown> {
  return typeof value === 'object' && value !== null
}
