import { TsvmmError } from '../util/errors.ts'
import { hintFor, type Refuse, splitList } from './grammar.ts'
import type { ValueKind } from './values.ts'

/** A key of an option with structure. */
export interface OptionKey {
  /** Where its value goes in the configuration object: `rate_limiter_config.ops.size` is in one within it. */
  readonly field: string
  readonly kind: ValueKind
  readonly isRequired?: boolean
  /**
   * One line for help, with the default in brackets. Keys without are Cloud Hypervisor's, not supported yet: they are
   * parsed, so that `iommu=off` passes, and refused by the configuration where they ask for something.
   */
  readonly help?: string
}

export type OptionKeys = Readonly<Record<string, OptionKey>>
export type OptionObject = Record<string, unknown>

/**
 * Parses `key=value,key=[a,b]` to the object that the configuration has for it; `key=` leaves the default.
 * Throws ERR_OPTION_INVALID naming option and key for wrong, missing, doubled and unknown keys.
 */
export function parseOption(option: string, text: string, keys: OptionKeys): OptionObject {
  const seen = new Set<string>()
  const result: OptionObject = {}
  for (const part of splitList(text, refusal(option))) {
    const separator = part.indexOf('=')
    const key = separator < 0 ? part : part.slice(0, separator)
    const known = Object.hasOwn(keys, key) ? keys[key] : undefined
    if (known === undefined) throw invalid(option, unknownKey(key, keys))
    if (separator < 0) throw invalid(option, `${key}: has no value`)
    if (seen.has(key)) throw invalid(option, `${key}: is there twice`)
    seen.add(key)
    const value = part.slice(separator + 1)
    if (value !== '') setField(result, known.field, known.kind.parse(value, refusal(option, key)))
  }
  const missing = Object.entries(keys).find(([, { field, isRequired }]) => isRequired === true && !(field in result))
  if (missing !== undefined) throw invalid(option, `${missing[0]}: is missing`)
  return result
}

/** `VALUE` alone, with or without further keys behind it, is the value of the first key. */
export function withFirstKey(text: string, keys: OptionKeys): string {
  const [first = ''] = Object.keys(keys)
  const start = /^[a-z_]+(?==)/.exec(text)?.[0]
  return start !== undefined && Object.hasOwn(keys, start) ? text : `${first}=${text}`
}

/** The shortest text from which parseOption makes `object`; fields without a key are left out. */
export function printOption(object: Readonly<OptionObject>, keys: OptionKeys): string {
  const parts: string[] = []
  for (const [key, { field, kind }] of Object.entries(keys)) {
    const value = fieldOf(object, field)
    if (value !== undefined) parts.push(`${key}=${kind.print(value)}`)
  }
  return parts.join(',')
}

function setField(object: OptionObject, field: string, value: unknown): void {
  const [name = '', ...within] = field.split('.')
  if (within.length === 0) object[name] = value
  else {
    const inner: OptionObject = { ...Object(object[name]) }
    setField(inner, within.join('.'), value)
    object[name] = inner
  }
}

function fieldOf(object: Readonly<OptionObject>, field: string): unknown {
  return field.split('.').reduce<unknown>((value, name) => Reflect.get(Object(value), name), object)
}

/** ERR_OPTION_INVALID for what is wrong with an option. */
export function invalid(option: string, reason: string): TsvmmError {
  return new TsvmmError('ERR_OPTION_INVALID', { option, reason })
}

/** A refusal that names option and key. */
export function refusal(option: string, key?: string): Refuse {
  return reason => {
    throw invalid(option, key === undefined ? reason : `${key}: ${reason}`)
  }
}

function unknownKey(key: string, keys: OptionKeys): string {
  return key === '' ? 'an empty key' : `unknown key ${key}${hintFor(key, Object.keys(keys))}`
}
