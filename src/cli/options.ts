import { TsvmmError } from '../util/errors.ts'

/** A key of an option and what its value is. */
export interface KeyKind {
  /** Where it goes in the configuration object. */
  readonly field: string
  readonly kind: 'text' | 'number' | 'size' | 'switch' | 'list' | 'numbers' | 'topology' | 'affinity' | 'words'
  readonly help: string
}

export type OptionKeys = Readonly<Record<string, KeyKind>>
export type OptionObject = Record<string, unknown>

const sizeUnits: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }

/** Cuts at commas outside of brackets and quotes. Throws where one is left open. */
function splitList(text: string, option: string): string[] {
  const parts: string[] = []
  let depth = 0
  let isQuoted = false
  let part = ''
  for (const character of text) {
    if (character === '"') isQuoted = !isQuoted
    else if (!isQuoted && character === '[') depth += 1
    else if (!isQuoted && character === ']') depth -= 1
    if (depth < 0) break
    if (character === ',' && depth === 0 && !isQuoted) {
      parts.push(part)
      part = ''
    } else part += character
  }
  if (isQuoted || depth !== 0) invalid(option, `${text}: a ${isQuoted ? 'quote' : 'bracket'} has no partner`)
  return [...parts, part]
}

function invalid(option: string, reason: string): never {
  throw new TsvmmError('ERR_OPTION_INVALID', { option, reason })
}

function unquoted(text: string): string {
  return text.replaceAll('"', '')
}

/** Parses `key=value,key=[a,b]`. Throws ERR_OPTION_INVALID naming option and key for wrong, missing, doubled and unknown keys. */
export function parseOption(option: string, text: string, keys: OptionKeys): OptionObject {
  const result: OptionObject = {}
  for (const part of splitList(text, option)) {
    const separator = part.indexOf('=')
    const key = separator < 0 ? part : part.slice(0, separator)
    const known = keys[key]
    if (known === undefined || !Object.hasOwn(keys, key)) invalid(option, unknownKey(key, Object.keys(keys)))
    if (separator < 0) invalid(option, `${key}: has no value`)
    if (known.field in result) invalid(option, `${key}: is there twice`)
    result[known.field] = parseValue(option, key, part.slice(separator + 1), known.kind)
  }
  return result
}

function unknownKey(key: string, known: readonly string[]): string {
  const nearest = known.toSorted((a, b) => distance(key, a) - distance(key, b))[0]
  const hint = nearest !== undefined && distance(key, nearest) <= 2 ? `; did you mean ${nearest}?` : ''
  return `${key === '' ? 'an empty key' : `unknown key ${key}`}${hint}`
}

/** Levenshtein's: how many letters to change, add or leave out. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

function parseValue(option: string, key: string, text: string, kind: KeyKind['kind']): unknown {
  switch (kind) {
    case 'text':
      return text === '' ? invalid(option, `${key}: is empty`) : unquoted(text)
    case 'number':
      return parseNumber(option, key, text)
    case 'size':
      return parseSize(option, key, text)
    case 'switch':
      return parseSwitch(option, key, text)
    case 'words':
    case 'list':
      return listItems(option, key, text).map(unquoted)
    case 'numbers':
      return parseNumbers(option, key, listItems(option, key, text))
    case 'topology':
      return parseTopology(option, key, text)
    case 'affinity':
      return parseAffinity(option, key, text)
  }
}

function parseNumber(option: string, key: string, text: string): number {
  const value = Number(text)
  if (!/^(0x[0-9a-f]+|\d+)$/i.test(text) || !Number.isSafeInteger(value))
    invalid(option, `${key}: ${text} is not a number`)
  return value
}

export function parseSize(option: string, key: string, text: string): number {
  const match = /^(\d+)([KMGT]?)$/i.exec(text)
  const value = Number(match?.[1]) * (sizeUnits[match?.[2]?.toUpperCase() ?? ''] ?? Number.NaN)
  if (!Number.isSafeInteger(value)) invalid(option, `${key}: ${text} is not a size like 512M`)
  return value
}

function parseSwitch(option: string, key: string, text: string): boolean {
  if (text === 'on' || text === 'true') return true
  if (text === 'off' || text === 'false') return false
  return invalid(option, `${key}: ${text} is neither on nor off`)
}

function listItems(option: string, key: string, text: string): string[] {
  const inner = /^\[(.*)\]$/.exec(text)?.[1]
  if (inner === undefined) {
    // A single value needs no brackets.
    if (text.includes('[') || text === '') invalid(option, `${key}: ${text} is not a list like [a,b]`)
    return [text]
  }
  return inner === '' ? [] : splitList(inner, option)
}

/** Numbers and ranges: `0`, `2-5`. */
function parseNumbers(option: string, key: string, items: readonly string[]): number[] {
  return items.flatMap(item => {
    const [first = '', last = first] = item.split('-')
    const from = parseNumber(option, key, first)
    const to = parseNumber(option, key, last)
    if (to < from || to - from > 65535) invalid(option, `${key}: ${item} is not a range`)
    return Array.from({ length: to - from + 1 }, (_, index) => from + index)
  })
}

function parseTopology(option: string, key: string, text: string): OptionObject {
  const parts = text.split(':')
  if (parts.length !== 4) invalid(option, `${key}: ${text} is not threads:cores:dies:packages`)
  const [threads_per_core, cores_per_die, dies_per_package, packages] = parts.map(part =>
    parseNumber(option, key, part),
  )
  return { threads_per_core, cores_per_die, dies_per_package, packages }
}

function parseAffinity(option: string, key: string, text: string): OptionObject[] {
  return listItems(option, key, text).map(item => {
    const [vcpu = '', hosts = ''] = item.split('@')
    return {
      vcpu: parseNumber(option, key, vcpu),
      host_cpus: parseNumbers(option, key, listItems(option, key, hosts)),
    }
  })
}
