import { pingSchema, vmCountersSchema } from '../api/schemas.ts'
import { seldomChecked } from '../util/issues.ts'
import type { FoundMachine } from './machines.ts'
import { type ProcessUsage, processUsage } from './process-usage.ts'
import { askApi } from './remote.ts'

type Counters = Readonly<Record<string, Readonly<Record<string, number>>>>

/** What a machine had counted and used at one moment. */
export interface Sample {
  readonly machine: string
  readonly state: string
  /** In milliseconds, of a clock that never goes back. */
  readonly takenMs: number
  readonly counters: Counters
  readonly usage?: ProcessUsage | undefined
}

/** What a machine did between two samples; rates are by second. */
export interface Activity {
  readonly machine: string
  readonly state: string
  /** Of one processor. */
  readonly cpu_percent?: number
  readonly vcpu_percent?: readonly number[]
  readonly resident_bytes?: number
  /** By device: every counter that only grows. */
  readonly devices: Readonly<Record<string, Readonly<Record<string, number>>>>
}

/** Undefined where the machine is gone. */
export async function takeSample({ name, entry, socket }: FoundMachine): Promise<Sample | undefined> {
  try {
    const pid = entry?.pid ?? (socket === undefined ? undefined : await pidAt(socket))
    if (pid === undefined) return undefined
    const counters = socket === undefined ? {} : await countersAt(socket)
    return { machine: name, state: entry?.state ?? '', takenMs: performance.now(), counters, usage: processUsage(pid) }
  } catch {
    return undefined
  }
}

async function pidAt(socket: string): Promise<number> {
  return pingSchema.parse(await askApi(socket, '/vmm.ping'), seldomChecked).pid
}

/** One that does not run has none. */
async function countersAt(socket: string): Promise<Counters> {
  try {
    return vmCountersSchema.parse(await askApi(socket, '/vm.counters'), seldomChecked)
  } catch {
    return {}
  }
}

export function activityBetween(before: Sample, after: Sample): Activity {
  const seconds = Math.max(1, after.takenMs - before.takenMs) / 1000
  const devices = Object.entries(after.counters).map(([device, counters]) => {
    const rates = Object.entries(counters).flatMap(([name, value]) => {
      if (isMeasure(name)) return []
      const earlier = before.counters[device]?.[name] ?? value
      // One that was added anew under its name begins at 0.
      return [[name, Math.max(0, value - earlier) / seconds] as const]
    })
    return [device, Object.fromEntries(rates)] as const
  })
  const { machine, state } = after
  return { machine, state, ...usageBetween(before.usage, after.usage, seconds), devices: Object.fromEntries(devices) }
}

/** What a counter's name says is not counted but measured. */
const isMeasure = (name: string) => /_(min|max|avg)$/.test(name)

function usageBetween(before: ProcessUsage | undefined, after: ProcessUsage | undefined, seconds: number) {
  if (before === undefined || after === undefined) return {}
  const percent = (now: number, then = now) => (100 * Math.max(0, now - then)) / seconds
  return {
    cpu_percent: percent(after.cpuSeconds, before.cpuSeconds),
    vcpu_percent: after.vcpuSeconds.map((each, vcpu) => percent(each, before.vcpuSeconds[vcpu])),
    resident_bytes: after.residentBytes,
  }
}
