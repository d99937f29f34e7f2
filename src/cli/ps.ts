import { type MachineEntry, nameOf } from '../vmm/registry.native.ts'
import type { ChosenLocal } from './local-commands.ts'
import { listedMachines } from './machines.ts'
import { inBinaryUnits } from './quantities.ts'
import { table } from './remote-text.ts'

/** Prints the machines of this host. Returns the exit code. */
export function runPs({ options }: ChosenLocal): number {
  const machines = listedMachines()
  console.log(
    options['json'] === true ? JSON.stringify(machines, undefined, 2) : describeMachines(machines, Date.now()),
  )
  return 0
}

const header = ['MACHINE', 'STATE', 'VCPUS', 'MEMORY', 'UPTIME', 'BOOTS', 'API SOCKET', 'CONSOLE']

/** `now` in milliseconds since the epoch. */
export function describeMachines(machines: readonly MachineEntry[], now: number): string {
  const rows = machines.map(machine => {
    const { state, vcpus, memory_bytes, started, boots, socket, consoles } = machine
    return [
      ...[nameOf(machine), state, `${vcpus ?? '-'}`, memory_bytes === undefined ? '-' : inBinaryUnits(memory_bytes)],
      ...[uptime(now - Date.parse(started)), boots ?? '-', socket ?? '-', Object.values(consoles).join(' ') || '-'],
    ]
  })
  return table([header, ...rows])
}

/** The two largest units of a time. */
function uptime(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000))
  const parts: readonly (readonly [number, string])[] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ]
  const first = parts.findIndex(([count]) => count > 0)
  return (first < 0 ? parts.slice(-1) : parts.slice(first, first + 2))
    .map(([count, unit]) => `${count}${unit}`)
    .join(' ')
}
