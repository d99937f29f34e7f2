/** Where two states differ, and how: for people to read. */
export interface Difference {
  /** Names and indices from the outermost on: `queues.0.size`. */
  readonly field: string
  readonly first: string
  readonly second: string
}

/** What a state has not that the other one has. */
const absent = '-'

/** Of states as schemas decode them: plain data with numbers, bytes, lists and records. */
export function differencesOf(first: unknown, second: unknown, field = ''): Difference[] {
  if (Object.is(first, second)) return []
  if (first instanceof Uint8Array && second instanceof Uint8Array) return bytesDiffer(first, second, field)
  if (isRecord(first) && isRecord(second) && Array.isArray(first) === Array.isArray(second)) {
    const keys = new Set([...Object.keys(first), ...Object.keys(second)])
    return [...keys].flatMap(key => {
      return differencesOf(first[key], second[key], field === '' ? key : `${field}.${key}`)
    })
  }
  return [{ field, first: describe(first), second: describe(second) }]
}

function bytesDiffer(first: Uint8Array, second: Uint8Array, field: string): Difference[] {
  const length = Math.max(first.length, second.length)
  const places = Array.from({ length }, (_, place) => place).filter(place => first[place] !== second[place])
  const [from] = places
  if (from === undefined) return []
  const where = `${places.length} of ${length} bytes differ from ${from} on`
  const shown = (bytes: Uint8Array) => `${Buffer.from(bytes.subarray(from, from + 8)).toString('hex')} (${where})`
  return [{ field, first: shown(first), second: shown(second) }]
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !(value instanceof Uint8Array)
}

function describe(value: unknown): string {
  if (value === undefined) return absent
  if (typeof value === 'bigint') return `0x${value.toString(16)}`
  if (value instanceof Uint8Array) return `${value.length} bytes`
  return JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'bigint' ? `0x${inner.toString(16)}` : inner))
}
