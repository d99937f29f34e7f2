import { readFileSync } from 'node:fs'

const kibibyte = 1024

/**
 * Private memory (clean and dirty) of a process in bytes, the guest's RAM left out: the writable mappings that are nearly
 * as large as the RAM or part of a run of adjacent mappings that is (transparent huge pages split them).
 */
export function privateBytesBeyondRam(pid: number, ramBytes: number): number {
  const mappings = parseSmaps(readFileSync(`/proc/${pid}/smaps`, 'utf8'))
  let total = 0
  for (const run of writableRuns(mappings)) {
    const sizeBytes = run.reduce((sum, mapping) => sum + mapping.end - mapping.start, 0)
    if (sizeBytes >= 0.9 * ramBytes && sizeBytes <= 2 * ramBytes) continue
    total += run.reduce((sum, mapping) => sum + mapping.privateBytes, 0)
  }
  return total
}

/** Private memory of a process in bytes: in the mappings of a file, and elsewhere. */
export function privateBytesByFile(pid: number, file: string): { readonly inFile: number; readonly elsewhere: number } {
  const mappings = parseSmaps(readFileSync(`/proc/${pid}/smaps`, 'utf8'))
  const sum = (isInFile: boolean) =>
    mappings
      .filter(({ path }) => (path === file) === isInFile)
      .reduce((total, { privateBytes }) => total + privateBytes, 0)
  return { inFile: sum(true), elsewhere: sum(false) }
}

interface Mapped {
  readonly start: number
  readonly end: number
  readonly writable: boolean
  readonly path: string
  privateBytes: number
}

function parseSmaps(text: string): Mapped[] {
  const mappings: Mapped[] = []
  for (const line of text.split('\n')) {
    const header = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)/.exec(line)
    if (header !== null) {
      const [, start = '', end = '', flags = '', path = ''] = header
      mappings.push({
        start: Number.parseInt(start, 16),
        end: Number.parseInt(end, 16),
        path,
        writable: flags.startsWith('rw'),
        privateBytes: 0,
      })
      continue
    }
    const size = /^Private_(?:Clean|Dirty):\s+(\d+) kB/.exec(line)
    const last = mappings.at(-1)
    if (size !== null && last !== undefined) last.privateBytes += Number(size[1]) * kibibyte
  }
  return mappings
}

function writableRuns(mappings: readonly Mapped[]): Mapped[][] {
  const runs: Mapped[][] = []
  for (const mapping of mappings) {
    const previous = runs.at(-1)?.at(-1)
    if (previous?.writable && mapping.writable && previous.end === mapping.start) {
      runs.at(-1)?.push(mapping)
    } else runs.push([mapping])
  }
  return runs
}
