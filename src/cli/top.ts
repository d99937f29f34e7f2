import { setTimeout as delay } from 'node:timers/promises'
import { TsvmmError } from '../util/errors.ts'
import { type Activity, activityBetween, type Sample, takeSample } from './activity.ts'
import type { ChosenLocal } from './local-commands.ts'
import { findMachines } from './machines.ts'
import { invalid } from './options.ts'
import { inBinaryUnits, inDigits } from './quantities.ts'
import { table } from './remote-text.ts'

/**
 * Shows what machines do: on a terminal over and over until a signal ends it or the machines are gone, elsewhere one table; lines of JSON
 * wherever that is asked for. Returns the exit code.
 */
export async function runTop(chosen: ChosenLocal): Promise<number> {
  const intervalMs = intervalOf(chosen.options['interval'])
  const isJson = chosen.options['json'] === true
  const isRepeated = isJson || process.stdout.isTTY
  // Whoever has read enough goes away.
  process.stdout.on('error', () => process.exit(0))
  let before = await samplesOf(chosen)
  if (before.size === 0) throw new TsvmmError('ERR_MACHINE_UNKNOWN', { reason: 'there is no machine' })
  do {
    await delay(intervalMs)
    const after = await samplesOf(chosen)
    const activities = Array.from(after.values()).flatMap(sample => {
      const earlier = before.get(sample.machine)
      return earlier === undefined ? [] : [activityBetween(earlier, sample)]
    })
    if (isJson) for (const activity of activities) console.log(lineOf(activity))
    else show(describeActivities(activities))
    before = after
  } while (isRepeated && before.size > 0)
  return 0
}

function intervalOf(given: unknown): number {
  const seconds = given === undefined ? 1 : Number(given)
  if (!(seconds >= 0.1 && seconds <= 3600)) throw invalid('--interval', `${given} is not 0.1 to 3600 seconds`)
  return seconds * 1000
}

/** By machine. Those that have just gone, or cannot be asked, are left out. */
async function samplesOf(chosen: ChosenLocal): Promise<ReadonlyMap<string, Sample>> {
  const samples = await Promise.all(findMachines('top', chosen).map(takeSample))
  return new Map(samples.flatMap(sample => (sample === undefined ? [] : [[sample.machine, sample] as const])))
}

function lineOf(activity: Activity): string {
  // More digits than can be measured.
  const rounded = (_key: string, value: unknown) => (typeof value === 'number' ? Math.round(value * 100) / 100 : value)
  return JSON.stringify({ time: new Date().toISOString(), ...activity }, rounded)
}

/** ECMA-48: the cursor goes home, and everything behind it is erased. */
const clear = '\x1b[H\x1b[J'

function show(text: string): void {
  const { isTTY, rows } = process.stdout
  process.stdout.write(
    isTTY
      ? `${clear}${text
          .split('\n')
          .slice(0, rows - 1)
          .join('\n')}\n`
      : `${text}\n`,
  )
}

const header = ['MACHINE', 'WHAT', 'STATE', 'CPU', 'MEMORY', 'IN/s', 'OPS/s', 'OUT/s', 'OPS/s']

/** A row for each machine, each of its vCPUs and each device. Disks are read from (in) and written to, cards receive (in) and send. */
export function describeActivities(activities: readonly Activity[]): string {
  return table([header, ...activities.flatMap(rowsOf)])
}

function rowsOf({ machine, state, cpu_percent, vcpu_percent = [], resident_bytes, devices }: Activity): string[][] {
  const percent = (value: number | undefined) => (value === undefined ? '-' : `${inDigits(Math.round(value))} %`)
  const memory = resident_bytes === undefined ? '-' : inBinaryUnits(resident_bytes)
  return [
    [machine, 'machine', state, percent(cpu_percent), memory],
    ...vcpu_percent.map((value, vcpu) => [machine, `vcpu${vcpu}`, '', percent(value)]),
    ...Object.entries(devices).map(([device, rates]) => [machine, device, '', '', '', ...ratesOf(rates)]),
  ]
}

function ratesOf(rates: Readonly<Record<string, number>>): string[] {
  const bytes = (...names: readonly string[]) => inBinaryUnits(Math.round(sumOf(rates, names)))
  const operations = (...names: readonly string[]) => inDigits(Math.round(sumOf(rates, names)))
  return [
    ...[bytes('read_bytes', 'rx_bytes'), operations('read_ops', 'rx_frames')],
    ...[bytes('write_bytes', 'tx_bytes'), operations('write_ops', 'tx_frames')],
  ]
}

function sumOf(rates: Readonly<Record<string, number>>, names: readonly string[]): number {
  return names.reduce((sum, name) => sum + (rates[name] ?? 0), 0)
}
