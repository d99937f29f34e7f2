import type { VmConfig } from '../config/vm-config.ts'
import type { MigrationProgress } from '../migration/progress.ts'
import type { DeviceDescription } from '../state/component.ts'
import type { Vm } from './vm.ts'

/** The states that clients know. `Shutdown` is seen only while a machine is being taken apart. */
export const clientStates = ['Created', 'Running', 'Shutdown', 'Paused', 'BreakPoint'] as const
export type ClientState = (typeof clientStates)[number]

/** A device in the tree of a machine's information. */
export interface DeviceNode {
  readonly id: string
  readonly resources: readonly object[]
  readonly parent?: string
  readonly children: readonly string[]
  readonly pci_bdf?: string
}

/** What clients get to know of a machine; the names are Cloud Hypervisor's. */
export interface VmInfo {
  readonly config: VmConfig
  readonly state: ClientState
  readonly memory_actual_size: number
  /** While it is on its way to another host; a field that clients do not know. */
  readonly migration?: ReturnType<typeof migrationInfo>
  /** By id; only a machine that has booted has one. */
  readonly device_tree?: Readonly<Record<string, DeviceNode>>
}

const names = {
  created: 'Created',
  running: 'Running',
  paused: 'Paused',
  moving: 'Paused',
  shutdown: 'Shutdown',
} as const

/** Information about a machine, or about the configuration of one that has not booted. */
export function vmInfo(config: VmConfig, vm?: Vm): VmInfo {
  const { cpus, memory, net } = config
  return {
    config: {
      ...config,
      // Clients count on a field that the configuration may leave out.
      cpus: { ...cpus, max_vcpus: cpus.max_vcpus ?? cpus.boot_vcpus },
      // Numbers of descriptors mean nothing to them.
      net: net.map(({ fds: _fds, ...card }) => card),
      ...(vm === undefined || vm.state === 'shutdown' ? {} : terminals(config, vm)),
    },
    state: vm === undefined ? 'Created' : names[vm.state],
    memory_actual_size: memory.size,
    ...(vm?.migrationProgress === undefined ? {} : { migration: migrationInfo(vm.migrationProgress) }),
    ...(vm === undefined || vm.state === 'shutdown' ? {} : { device_tree: deviceTree(vm.devices()) }),
  }
}

/** Clients find the pseudo terminals as files. */
function terminals(config: VmConfig, vm: Vm): Partial<VmConfig> {
  const entries = Array.from(vm.terminals, ([owner, file]) => [owner, { ...config[owner], file }])
  return Object.fromEntries(entries)
}

/** Progress as clients get it; rates are bytes a second. */
export function migrationInfo(progress: MigrationProgress) {
  const { id, phase, passes, elapsedMs, expectedDowntimeMs } = progress
  return {
    ...{ id, phase, iteration: passes, elapsed_ms: elapsedMs },
    ...{ bytes_done: progress.bytesDone, bytes_total: progress.bytesTotal, bytes_sent: progress.bytesSent },
    ...{ bandwidth: progress.bytesPerSecond, dirty_rate: progress.dirtyBytesPerSecond },
    ...(expectedDowntimeMs === undefined ? {} : { expected_downtime_ms: expectedDowntimeMs }),
    throttle: progress.throttlePercent,
  }
}

function deviceTree(devices: readonly DeviceDescription[]): Record<string, DeviceNode> {
  const childrenOf = (id: string) => devices.filter(({ parent }) => parent === id).map(child => child.id)
  const nodes = devices.map(({ id, parent, pciAddress }) => ({
    id,
    resources: [],
    ...(parent === undefined ? {} : { parent }),
    children: childrenOf(id),
    ...(pciAddress === undefined ? {} : { pci_bdf: pciAddress }),
  }))
  return Object.fromEntries(nodes.map(node => [node.id, node]))
}

/** What devices have counted, by id; those that count nothing are left out. */
export function vmCounters(vm: Vm): Record<string, Record<string, bigint>> {
  const counting = vm.devices().flatMap(({ id, counters }) => (counters === undefined ? [] : [{ id, counters }]))
  return Object.fromEntries(
    counting
      .filter(({ counters }) => Object.keys(counters).length > 0)
      .map(({ id, counters }) => [id, { ...counters }]),
  )
}
