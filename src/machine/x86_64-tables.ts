import type { PciSegmentDescription } from '../acpi/dsdt.ts'
import { pciHotplug } from '../acpi/pci-hotplug.ts'
import { smbios } from '../acpi/smbios.ts'
import { buildAcpiTables } from '../acpi/tables.ts'
import { vmClock, vmGenerationId } from '../acpi/vm-identity.ts'
import { resetVectorAddress } from '../boot/x86_64/reset-vector.ts'
import type { VmConfig } from '../config/vm-config.ts'
import { acpiResetValue } from '../devices/acpi-power.ts'
import { apicIdOf, type CpuTopology } from '../hypervisor/x86_64/cpuid/topology.ts'
import { addressMap, type DeviceArea, pinMap, portMap } from '../platform/x86_64/address-map.ts'

/** What the firmware tables of an x86-64 machine are made from. */
export interface X86Description {
  readonly config: VmConfig
  readonly topology: CpuTopology
  readonly area: DeviceArea
}

export function pciSegment({ start, end }: DeviceArea): PciSegmentDescription {
  return {
    segment: 0,
    ecamAddress: addressMap.ecam,
    ecamBytes: addressMap.ecamSegmentBytes,
    mmio32: { first: addressMap.mmio32Start, last: addressMap.mmio32End - 1 },
    mmio64: { first: start, last: end - 1 },
    ports: [
      { first: 0, last: portMap.pciConfigAddress - 1 },
      { first: portMap.pciConfigData + 4, last: 0xffff },
    ],
  }
}

/** All ACPI and SMBIOS tables with their addresses. Throws ERR_RESOURCE_EXHAUSTED where they do not fit. */
export function firmwareTables(description: X86Description): { address: number; bytes: Uint8Array }[] {
  const { serial_number, uuid, oem_strings } = description.config.platform
  const place = { address: addressMap.smbios, end: resetVectorAddress }
  const bytes = smbios({ serialNumber: serial_number, uuid, oemStrings: oem_strings }, place)
  return [...acpiTables(description), { address: place.address, bytes }]
}

function acpiTables({ config: { cpus, serial }, topology, area }: X86Description) {
  const hasSerial = serial.mode !== 'Off'
  const { platform } = area
  return buildAcpiTables({
    address: addressMap.rsdp,
    end: addressMap.vmClock,
    processors: Array.from({ length: cpus.boot_vcpus }, (_, uid) => ({
      uid,
      apicId: apicIdOf(uid, topology),
      isEnabled: true,
    })),
    segments: [pciSegment(area)],
    platformMmio: platform,
    serial: hasSerial ? { port: portMap.serial, interrupt: pinMap.serial } : undefined,
    ged: { address: platform.ged, interrupt: pinMap.ged },
    hardware: { controlPort: portMap.acpiControl, resetValue: acpiResetValue },
    interrupts: {
      lapicAddress: addressMap.lapic,
      ioapicAddress: addressMap.ioapic,
      isaInterrupts: hasSerial ? [{ number: pinMap.serial, pin: pinMap.serial }] : [],
    },
    contributions: [
      pciHotplug(platform.pciHotplug),
      vmGenerationId(addressMap.vmGenerationId),
      vmClock({ first: addressMap.vmClock, last: addressMap.vmGenerationId - 1 }),
    ],
  })
}
