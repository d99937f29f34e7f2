import { writeFileSync } from 'node:fs'
import { cpus, hostname, totalmem } from 'node:os'

/** One figure of one subject over all runs, in `unit`. */
export interface Result {
  readonly name: string
  readonly subject: string
  readonly unit: string
  readonly runs: number
  readonly min: number
  readonly median: number
  readonly max: number
}

/** Ours divided by the peer's, medians of the same interleaved runs. */
export interface Ratio {
  readonly name: string
  readonly peer: string
  readonly value: number
}

export interface Report {
  readonly machine: {
    readonly host: string
    readonly cpu: string
    readonly cores: number
    readonly memoryBytes: number
  }
  readonly date: string
  readonly results: readonly Result[]
  readonly ratios: readonly Ratio[]
}

/** Which of two figures is the better one. */
export type Better = 'lower' | 'higher'

/** Collects samples while subjects take turns, so that drift of the machine's speed meets all of them alike. */
export class Samples {
  readonly #samples = new Map<string, { name: string; subject: string; unit: string; values: number[] }>()
  readonly #better = new Map<string, Better>()

  add(name: string, subject: string, unit: string, better: Better, value: number): void {
    const key = `${name}\0${subject}`
    const entry = this.#samples.get(key) ?? { name, subject, unit, values: [] }
    entry.values.push(value)
    this.#samples.set(key, entry)
    this.#better.set(name, better)
  }

  report(): Report {
    const results = [...this.#samples.values()].map(({ name, subject, unit, values }) => {
      const sorted = values.toSorted((a, b) => a - b)
      return {
        name,
        subject,
        unit,
        runs: sorted.length,
        min: at(sorted, 0),
        median: median(sorted),
        max: at(sorted, -1),
      }
    })
    return {
      machine: {
        host: hostname(),
        cpu: cpus()[0]?.model ?? 'unknown',
        cores: cpus().length,
        memoryBytes: totalmem(),
      },
      date: new Date().toISOString(),
      results,
      ratios: ratiosOf(results, this.#better),
    }
  }
}

function ratiosOf(results: readonly Result[], better: ReadonlyMap<string, Better>): Ratio[] {
  const ratios: Ratio[] = []
  for (const ours of results.filter(result => result.subject === 'tsvmm')) {
    const peers = results.filter(result => result.name === ours.name && result.subject !== 'tsvmm')
    for (const peer of peers) ratios.push({ name: ours.name, peer: peer.subject, value: ours.median / peer.median })
    const best = peers.toSorted((a, b) => a.median - b.median).at(better.get(ours.name) === 'higher' ? -1 : 0)
    if (best !== undefined) ratios.push({ name: ours.name, peer: 'best-peer', value: ours.median / best.median })
  }
  return ratios
}

function at(sorted: readonly number[], index: number): number {
  return sorted.at(index) ?? Number.NaN
}

function median(sorted: readonly number[]): number {
  const middle = sorted.length / 2
  return sorted.length % 2 === 1 ? at(sorted, Math.floor(middle)) : (at(sorted, middle - 1) + at(sorted, middle)) / 2
}

export function printReport({ results, ratios }: Report): void {
  const table = results.map(({ name, subject, unit, runs, min, median: middle, max }) => {
    return { figure: name, subject, unit, runs, min: rounded(min), median: rounded(middle), max: rounded(max) }
  })
  console.table(table)
  for (const { name, peer, value } of ratios) console.log(`${name}: ${value.toFixed(2)} of ${peer}`)
}

export function saveReport(path: string, report: Report): void {
  writeFileSync(path, `${JSON.stringify(report, null, 2)}\n`)
}

function rounded(value: number): number {
  return Number(value.toPrecision(4))
}
