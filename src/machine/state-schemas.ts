import { acpiGedState } from '../devices/acpi-ged-state.ts'
import { acpiPciHotplugState } from '../devices/acpi-pci-hotplug-state.ts'
import { acpiPmTimerState } from '../devices/acpi-pm-timer-state.ts'
import { rtcState } from '../devices/rtc-state.ts'
import { serialState } from '../devices/serial-state.ts'
import { vmClockState } from '../devices/vm-clock-state.ts'
import { vmGenerationIdState } from '../devices/vm-generation-id-state.ts'
import { ioapicState } from '../interrupts/ioapic-state.ts'
import { configPortsState } from '../pci/config-ports-state.ts'
import { pciFunctionState } from '../pci/function-state.ts'
import type { StateSchema } from '../state/schema.ts'
import { blkState } from '../virtio/blk-state.ts'
import { consoleState } from '../virtio/console-state.ts'
import { netState } from '../virtio/net-state.ts'
import { pciTransportState } from '../virtio/pci-transport-state.ts'
import { rateLimitGroupState } from '../virtio/rate-limiter-state.ts'
import { clockState } from './virtual-machine-state.ts'
import { x86TscState } from './x86_64-tsc-state.ts'
import { x86VcpuState } from './x86_64-vcpu-state.ts'

/** Every schema that a snapshot can have a record of. */
export const stateSchemas: readonly StateSchema<unknown>[] = [
  ...[clockState, ioapicState, acpiGedState, acpiPciHotplugState, acpiPmTimerState, rtcState, serialState],
  ...[vmGenerationIdState, vmClockState],
  ...[configPortsState, pciFunctionState, pciTransportState, blkState, netState, consoleState],
  ...[rateLimitGroupState],
  ...[x86TscState, x86VcpuState],
]
