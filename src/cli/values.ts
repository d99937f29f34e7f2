import { listItems, quote, type Refuse, unquote } from './grammar.ts'

/** How the value of a key is written. `parse` and `print` are each other's inverse. */
export interface ValueKind<T = unknown> {
  /** What it looks like, for help: `SIZE`, `on|off`. */
  readonly form: string
  parse(text: string, refuse: Refuse): T
  print(value: T): string
}

export const text: ValueKind<string> = { form: 'TEXT', parse: unquote, print: quote }

export const path: ValueKind<string> = { ...text, form: 'PATH' }

export const number: ValueKind<number> = {
  form: 'N',
  parse(input, refuse) {
    const value = Number(input)
    if (!/^(0x[0-9a-f]+|\d+)$/i.test(input)) refuse(`${input} is not a number`)
    if (!Number.isSafeInteger(value)) refuse(`${input} is beyond 2^53`)
    return value
  },
  print: String,
}

/** A number that may be below zero. */
export const signed: ValueKind<number> = {
  form: 'N',
  parse(input, refuse) {
    const value = number.parse(input.replace(/^-/, ''), refuse)
    return input.startsWith('-') ? -value : value
  },
  print: String,
}

const units = ['', 'K', 'M', 'G', 'T']

/** Bytes, or with K, M, G or T 2^10, 2^20, 2^30 or 2^40 of them. */
export const size: ValueKind<number> = {
  form: 'SIZE',
  parse(input, refuse) {
    const { count = '', unit = '' } = /^(?<count>\d+)(?<unit>[KMGT]?)$/i.exec(input)?.groups ?? {}
    if (count === '') refuse(`${input} is not a size like 512M`)
    const value = Number(count) * 1024 ** units.indexOf(unit.toUpperCase())
    if (!Number.isSafeInteger(value) || !Number.isSafeInteger(Number(count))) refuse(`${input} is beyond 2^53`)
    return value
  },
  print(value) {
    const power = value === 0 ? 0 : units.findLastIndex((_, exponent) => value % 1024 ** exponent === 0)
    return `${value / 1024 ** power}${units[power]}`
  },
}

export const toggle: ValueKind<boolean> = {
  form: 'on|off',
  parse(input, refuse) {
    const word = input.toLowerCase()
    if (word === 'on' || word === 'true') return true
    if (word === 'off' || word === 'false') return false
    return refuse(`${input} is neither on nor off`)
  },
  print: value => (value ? 'on' : 'off'),
}

/** One of some words, which may have other names in the configuration. */
export function choice(words: Readonly<Record<string, string>>, form: string): ValueKind<string> {
  return {
    form,
    parse(input, refuse) {
      const word = input.toLowerCase()
      const value = Object.hasOwn(words, word) ? words[word] : undefined
      return value ?? refuse(`${input} is none of ${Object.keys(words).join(', ')}`)
    },
    print: value => Object.keys(words).find(word => words[word] === value) ?? value,
  }
}

export const textList: ValueKind<string[]> = {
  form: '[TEXT,...]',
  parse: (input, refuse) => listItems(input, refuse).map(unquote),
  print: items => `[${items.map(quote).join(',')}]`,
}

/** Longer lists than any host has CPUs or a process descriptors. */
const longestRange = 65536

/** Numbers and ranges of them: `[0,2-5]`. */
export const numberList: ValueKind<number[]> = {
  form: '[N,N-N,...]',
  parse: (input, refuse) => listItems(input, refuse).flatMap(item => parseRange(item, refuse)),
  print: items => `[${items.join(',')}]`,
}

function parseRange(item: string, refuse: Refuse): number[] {
  const [first = '', last = first, ...rest] = item.split('-')
  const from = number.parse(first, refuse)
  const length = number.parse(last, refuse) - from + 1
  if (length < 1 || length > longestRange || rest.length > 0) refuse(`${item} is not a range`)
  return Array.from({ length }, (_, index) => from + index)
}

export interface Topology {
  readonly threads_per_core: number
  readonly cores_per_die: number
  readonly dies_per_package: number
  readonly packages: number
}

export const topology: ValueKind<Topology> = {
  form: 'THREADS:CORES:DIES:PACKAGES',
  parse(input, refuse) {
    const numbers = input.split(':').map(part => number.parse(part, refuse))
    const [threads_per_core = 0, cores_per_die = 0, dies_per_package = 0, packages = 0] = numbers
    if (numbers.length !== 4) refuse(`${input} is not threads:cores:dies:packages`)
    return { threads_per_core, cores_per_die, dies_per_package, packages }
  },
  print: value =>
    [value.threads_per_core, value.cores_per_die, value.dies_per_package, value.packages].map(String).join(':'),
}

type Affinity<K extends string> = { readonly [key in K]: number } & { readonly host_cpus: readonly number[] }

/** Host CPUs by the number of what runs on them: `[0@[2,3],1@[4-7]]`. */
export const vcpuAffinity: ValueKind<Affinity<'vcpu'>[]> = {
  form: '[VCPU@[CPU,...],...]',
  parse: (input, refuse) => parseTuples(input, refuse).map(({ id, numbers }) => ({ vcpu: id, host_cpus: numbers })),
  print: items => printTuples(items.map(({ vcpu, host_cpus }) => ({ id: vcpu, numbers: host_cpus }))),
}

export const queueAffinity: ValueKind<Affinity<'queue_index'>[]> = {
  form: '[QUEUE@[CPU,...],...]',
  parse: (input, refuse) =>
    parseTuples(input, refuse).map(({ id, numbers }) => ({ queue_index: id, host_cpus: numbers })),
  print: items => printTuples(items.map(({ queue_index, host_cpus }) => ({ id: queue_index, numbers: host_cpus }))),
}

/** Descriptors by the id of a card: `[net0@[3,4],net1@[5]]`. */
export const cardDescriptors: ValueKind<{ readonly id: string; readonly fds: readonly number[] }[]> = {
  form: '[ID@[FD,...],...]',
  parse: (input, refuse) =>
    listItems(input, refuse).map(item => {
      const separator = item.lastIndexOf('@')
      if (separator < 1) refuse(`${item} is not of the form net0@[3,4]`)
      return { id: unquote(item.slice(0, separator)), fds: numberList.parse(item.slice(separator + 1), refuse) }
    }),
  print: items => `[${items.map(({ id, fds }) => `${quote(id)}@[${fds.join(',')}]`).join(',')}]`,
}

interface NumberTuple {
  readonly id: number
  readonly numbers: readonly number[]
}

function parseTuples(input: string, refuse: Refuse): NumberTuple[] {
  return listItems(input, refuse).map(item => {
    const [id = '', numbers, ...rest] = item.split('@')
    if (numbers === undefined || rest.length > 0) refuse(`${item} is not of the form 0@[1,2]`)
    return { id: number.parse(id, refuse), numbers: numberList.parse(numbers, refuse) }
  })
}

function printTuples(tuples: readonly NumberTuple[]): string {
  return `[${tuples.map(({ id, numbers }) => `${id}@[${numbers.join(',')}]`).join(',')}]`
}

/** Words that each switch something on: `[amx]`. */
export function features<K extends string>(known: readonly K[]): ValueKind<Record<K, boolean>> {
  const isKnown = (word: string): word is K => known.some(each => each === word)
  return {
    form: `[${known.join(',')}]`,
    parse(input, refuse) {
      const words = listItems(input, refuse)
      const unknown = words.find(word => !isKnown(word))
      if (unknown !== undefined) refuse(`unknown feature ${unknown}; known are ${known.join(', ')}`)
      const entries = known.map(word => [word, words.includes(word)])
      const value: Record<K, boolean> = Object.fromEntries(entries)
      return value
    },
    print: value => `[${known.filter(word => value[word]).join(',')}]`,
  }
}
