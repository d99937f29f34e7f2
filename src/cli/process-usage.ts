import { readdirSync, readFileSync } from 'node:fs'

/** USER_HZ: what /proc counts processor time in, on every architecture that we run on (proc_pid_stat(5)). */
const ticksPerSecond = 100
const kibibyte = 1024

/** What a process has used so far. */
export interface ProcessUsage {
  /** Of all its threads. */
  readonly cpuSeconds: number
  /** Of those that run the guest, by number. */
  readonly vcpuSeconds: readonly number[]
  /** Resident: the guest's memory that has been touched is a part of it. */
  readonly residentBytes: number
}

/** Undefined where the process is gone, or not to be seen. `root` is where /proc is. */
export function processUsage(pid: number, root = '/proc'): ProcessUsage | undefined {
  const directory = `${root}/${pid}`
  try {
    const vcpuSeconds: number[] = []
    for (const task of readdirSync(`${directory}/task`)) {
      const { name, cpuSeconds } = readStat(`${directory}/task/${task}/stat`) ?? {}
      const [, number] = /^vcpu(\d+)$/.exec(name ?? '') ?? []
      if (number !== undefined) vcpuSeconds[Number(number)] = cpuSeconds ?? 0
    }
    const [, resident = '0'] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`${directory}/status`, 'latin1')) ?? []
    const stat = readStat(`${directory}/stat`)
    if (stat === undefined) return undefined
    const { cpuSeconds } = stat
    return {
      cpuSeconds,
      vcpuSeconds: Array.from(vcpuSeconds, each => each ?? 0),
      residentBytes: Number(resident) * kibibyte,
    }
  } catch {
    return undefined
  }
}

/** The name may have anything in it, a parenthesis too; the fields behind it are numbers. Undefined of a thread that has just ended. */
function readStat(path: string): { name: string; cpuSeconds: number } | undefined {
  let text: string
  try {
    text = readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
  const end = text.lastIndexOf(')')
  const fields = text.slice(end + 2).split(' ')
  // Fields 14 and 15, where the state behind the name is field 3.
  return {
    name: text.slice(text.indexOf('(') + 1, end),
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
  }
}
