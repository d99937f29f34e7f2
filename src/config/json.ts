import { reasonOf, TsvmmError } from '../util/errors.ts'
import { parseVmConfig, type VmConfig } from './vm-config.ts'

/**
 * Reads a configuration as JSON text. Every integer in it is exact: one beyond 2^53, which JSON.parse would silently round,
 * is refused by name. Throws ERR_CONFIG_INVALID naming what is wrong.
 */
export function parseVmConfigJson(text: string): VmConfig {
  return parseVmConfig(parseExactly(text))
}

/** As JSON.parse, but refuses integers that it would round. Throws ERR_CONFIG_INVALID. */
export function parseExactly(text: string): unknown {
  try {
    return JSON.parse(text, (key: string, value: unknown, context?: { source?: string }) => {
      if (typeof value === 'number' && isRounded(value, context?.source ?? '')) {
        throw new TsvmmError('ERR_CONFIG_INVALID', { option: key, reason: `${context?.source} is beyond 2^53` })
      }
      return value
    })
  } catch (cause) {
    if (cause instanceof TsvmmError) throw cause
    throw new TsvmmError('ERR_CONFIG_INVALID', { option: 'configuration', reason: reasonOf(cause) }, { cause })
  }
}

function isRounded(value: number, source: string): boolean {
  return /^-?\d+$/.test(source) && !Number.isSafeInteger(value)
}
