import { TsvmmError } from '../util/errors.ts'

const maximumQueueSize = 32768

/** Refuses a configuration. Throws ERR_CONFIG_INVALID naming flag and, in the reason, the key. */
export function fail(option: string, reason: string): never {
  throw new TsvmmError('ERR_CONFIG_INVALID', { option, reason })
}

/** As fail, for a name or resource that something else in the configuration has: `details.conflict` says so. */
export function failConflict(option: string, reason: string): never {
  throw new TsvmmError('ERR_CONFIG_INVALID', { option, reason, conflict: 1 })
}

/** Split virtqueues have a power of two of entries, at most 32768 (virtio 1.2 §2.7); a device may need some at least. */
export function checkQueueSize(flag: string, size: number, minimum: number): void {
  if (size < 1 || !Number.isInteger(Math.log2(size))) fail(flag, `queue_size: ${size} is not a power of two`)
  if (size < minimum) fail(flag, `queue_size: ${size} is less than ${minimum}`)
  if (size > maximumQueueSize) fail(flag, `queue_size: ${size} is more than ${maximumQueueSize}`)
}

/** No value may be there twice. */
export function checkUnique(flag: string, key: string, values: readonly string[]): void {
  const seen = new Set<string>()
  for (const value of values) {
    if (seen.has(value)) failConflict(flag, `${key}: ${value} is there twice`)
    seen.add(value)
  }
}
