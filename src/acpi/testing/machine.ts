import { pciHotplug } from '../pci-hotplug.ts'
import type { AcpiDescription } from '../tables.ts'
import { vmClock, vmGenerationId } from '../vm-identity.ts'

const mebibyte = 0x10_0000
const mmio32Bytes = 0x1000_0000
const mmio64Bytes = 0x40_0000_0000
const platformMmio = 0x3fff_fff0_0000

export interface MachineOptions {
  readonly processors?: number
  readonly segments?: number
  /** APIC ids are this far apart, as those of packages are that are not full. */
  readonly apicIdStride?: number
}

/** A machine with everything that a description can have. */
export function aMachine(options: MachineOptions = {}): AcpiDescription {
  const { processors = 1, segments = 1, apicIdStride = 1 } = options
  return {
    address: 0xa0000,
    end: 0xf0000,
    processors: Array.from({ length: processors }, (_, uid) => ({ uid, apicId: uid * apicIdStride, isEnabled: true })),
    segments: Array.from({ length: segments }, (_, segment) => ({
      segment,
      ecamAddress: 0xe800_0000 + segment * mebibyte,
      ecamBytes: mebibyte,
      mmio32: range(0xc000_0000 + segment * mmio32Bytes, mmio32Bytes),
      mmio64: range(0x1_4000_0000 + segment * mmio64Bytes, mmio64Bytes),
      ports: segment === 0 ? [range(0, 0xcf8), range(0xd00, 0xf300)] : [],
    })),
    platformMmio: range(platformMmio, mebibyte),
    serial: { port: 0x3f8, interrupt: 4 },
    ged: { address: platformMmio, interrupt: 5 },
    hardware: { controlPort: 0x600, resetValue: 1 },
    interrupts: {
      lapicAddress: 0xfee0_0000,
      ioapicAddress: 0xfec0_0000,
      isaInterrupts: [{ number: 4, pin: 4 }],
    },
    contributions: [pciHotplug(platformMmio + 0xf_ffd8), vmGenerationId(0xef000), vmClock(range(0xee000, 0x1000))],
  }
}

function range(first: number, lengthBytes: number) {
  return { first, last: first + lengthBytes - 1 }
}
