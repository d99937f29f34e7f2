import { reasonOf } from '../util/errors.ts'
import type { Vm } from './vm.ts'

/** What monitors are told; the names are Cloud Hypervisor's. */
export interface VmmEvent {
  readonly source: 'vmm' | 'vm'
  readonly event: string
  readonly properties?: Readonly<Record<string, string>>
}

const plainEvents = [
  ...(['booted', 'pausing', 'paused', 'resuming', 'resumed', 'rebooting', 'rebooted'] as const),
  ...(['snapshotting', 'snapshotted', 'migration-started'] as const),
]

/** Tells monitors what becomes of a machine, but for its end. */
export function monitor(vm: Vm, tell: (event: string, properties?: VmmEvent['properties']) => void): void {
  for (const event of plainEvents) vm.on(event, () => tell(event))
  vm.on('device-added', ({ id, pciAddress }) => tell('device-added', { id, bdf: pciAddress }))
  vm.on('device-removed', id => tell('device-removed', { id }))
  vm.on('snapshot-progress', ({ bytesDone, bytesTotal, bytesWritten }) => {
    const counted = { bytes_done: bytesDone, bytes_total: bytesTotal, bytes_written: bytesWritten }
    tell('snapshot-progress', inWords(counted))
  })
  let passes = 0
  vm.on('migration-progress', progress => {
    // Once each, as Cloud Hypervisor does.
    if (progress.passes === passes) return
    passes = progress.passes
    tell('migration-memory-iteration', inWords({ iteration: passes, bytes_total: progress.bytesTotal }))
  })
  vm.on('migration-finished', ({ downtimeMs, totalMs, bytesSent }) => {
    const counted = { downtime_ms: Math.ceil(downtimeMs), total_ms: Math.ceil(totalMs), bytes_sent: bytesSent }
    tell('migration-finished', inWords(counted))
  })
  vm.on('migration-completed', () => tell('postcopy-migration-completed'))
  vm.on('migration-failed', reason => tell('migration-failed', { reason: reasonOf(reason) }))
  vm.on('migration-in-doubt', (id, reason) => tell('migration-in-doubt', { id, reason }))
}

/** Properties of events are texts. */
function inWords(numbers: Readonly<Record<string, number>>): Record<string, string> {
  return Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, String(value)]))
}
