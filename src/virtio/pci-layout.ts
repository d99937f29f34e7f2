import type { ConfigSpace, PciIdentity } from '../pci/config-space.ts'
import { Layout } from '../util/bytes.ts'
import { commonConfigBytes } from './common-config.ts'

/** BAR 0, laid out as Cloud Hypervisor's. */
export const virtioBar = {
  sizeBytes: 0x8_0000,
  common: 0x0,
  isr: 0x2000,
  device: 0x4000,
  deviceBytes: 0x1000,
  notify: 0x6000,
  notifyMultiplier: 4,
  notifyBytes: 0x1000,
  msixTable: 0x8000,
  pba: 0x4_8000,
} as const

const vendorCapability = 0x09
/** virtio 1.2 §4.1.4. */
const structureTypes = { common: 1, notify: 2, isr: 3, device: 4, pci: 5 } as const
/** struct virtio_pci_cap without its first two bytes, which belong to the list; what follows it depends on the type. */
const structure = new Layout(14, {
  capabilityBytes: { offset: 0, width: 1 },
  type: { offset: 1, width: 1 },
  bar: { offset: 2, width: 1 },
  offset: { offset: 6, width: 4 },
  lengthBytes: { offset: 10, width: 4 },
})
const vendorVirtio = 0x1af4
const firstModernDevice = 0x1040

/** Who a device of a virtio type is on PCI. Network and storage have classes of their own, everything else is "other". */
export function identityOf(type: number): PciIdentity {
  const classes: Readonly<Record<number, readonly [number, number]>> = { 1: [0x02, 0x00], 2: [0x01, 0x80] }
  const [baseClass, subclass] = classes[type] ?? [0xff, 0xff]
  const device = firstModernDevice + type
  return {
    ...{ vendor: vendorVirtio, device, baseClass, subclass, revision: 1 },
    ...{ subsystemVendor: vendorVirtio, subsystem: device },
  }
}

/**
 * Names the structures in the BAR, in the order of Cloud Hypervisor: common, ISR, device, notify, PCI access; MSI-X comes
 * last. Returns where the capability for PCI access is.
 */
export function addStructures(config: ConfigSpace, deviceConfigBytes: number): number {
  const add = (type: number, offset: number, lengthBytes: number, extra: readonly number[] = []) => {
    const capabilityBytes = 2 + structure.sizeBytes + extra.length
    const fields = structure.encode({ capabilityBytes, type, offset, lengthBytes })
    return config.addCapability(vendorCapability, Uint8Array.of(...fields, ...extra))
  }
  add(structureTypes.common, virtioBar.common, commonConfigBytes)
  add(structureTypes.isr, virtioBar.isr, 1)
  add(structureTypes.device, virtioBar.device, Math.max(deviceConfigBytes, virtioBar.deviceBytes))
  add(structureTypes.notify, virtioBar.notify, virtioBar.notifyBytes, [virtioBar.notifyMultiplier, 0, 0, 0])
  return add(structureTypes.pci, 0, 0, [0, 0, 0, 0])
}
