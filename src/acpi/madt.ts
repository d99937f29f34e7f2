import { concatenate, consecutive, Layout } from '../util/bytes.ts'
import { type AcpiTable, table } from './table.ts'

export interface ProcessorDescription {
  /** The number by which the processor's device in the DSDT and its entry in the MADT know each other. */
  readonly uid: number
  readonly apicId: number
  /** false: not there at boot, may be plugged in later. */
  readonly isEnabled: boolean
}

/** An interrupt of the ISA bus and its pin of the IOAPIC: edge-triggered and active high, as that bus is (§5.2.12.5). */
export interface IsaInterrupt {
  readonly number: number
  readonly pin: number
}

export interface InterruptHardware {
  readonly lapicAddress: number
  readonly ioapicAddress: number
  /** Cloud Hypervisor tells the serial port's, although an interrupt on the pin of its own number needs no telling. */
  readonly isaInterrupts: readonly IsaInterrupt[]
}

/** From here on an id needs the x2APIC form: in the other, 255 means all processors (ACPI 6.5 §5.2.12.2). */
const firstX2apicId = 0xff
const enabled = 1 << 0
const onlineCapable = 1 << 1
const lint1 = 1

const head = new Layout(8, consecutive(['lapicAddress', 'flags'], 4))
const localApic = new Layout(8, {
  ...consecutive(['type', 'length', 'uid', 'apicId'], 1),
  flags: { offset: 4, width: 4 },
})
const localX2apic = new Layout(16, {
  ...consecutive(['type', 'length'], 1),
  ...consecutive(['apicId', 'flags', 'uid'], 4, 4),
})
const ioApic = new Layout(12, {
  ...consecutive(['type', 'length', 'id'], 1),
  ...consecutive(['address', 'firstPin'], 4, 4),
})
const interruptOverride = new Layout(10, {
  ...consecutive(['type', 'length', 'bus', 'source'], 1),
  pin: { offset: 4, width: 4 },
  flags: { offset: 8, width: 2 },
})
const localApicNmi = new Layout(6, {
  ...consecutive(['type', 'length', 'uid'], 1),
  flags: { offset: 3, width: 2 },
  lint: { offset: 5, width: 1 },
})
const localX2apicNmi = new Layout(12, {
  ...consecutive(['type', 'length'], 1),
  flags: { offset: 2, width: 2 },
  uid: { offset: 4, width: 4 },
  lint: { offset: 8, width: 1 },
})

function needsX2apic({ uid, apicId }: ProcessorDescription): boolean {
  return apicId >= firstX2apicId || uid >= firstX2apicId
}

/** The entry of a processor; also what its _MAT object returns when it can be plugged in (§6.2.10). */
export function processorEntry(processor: ProcessorDescription): Uint8Array<ArrayBuffer> {
  const { uid, apicId, isEnabled } = processor
  const flags = isEnabled ? enabled : onlineCapable
  return needsX2apic(processor)
    ? localX2apic.encode({ type: 9, length: localX2apic.sizeBytes, apicId, flags, uid })
    : localApic.encode({ type: 0, length: localApic.sizeBytes, uid, apicId, flags })
}

/** Multiple APIC Description Table, revision 5 (§5.2.12), without 8259s. */
export function madt(processors: readonly ProcessorDescription[], hardware: InterruptHardware): AcpiTable {
  const { lapicAddress, ioapicAddress, isaInterrupts } = hardware
  const overrides = isaInterrupts.map(({ number, pin }) =>
    interruptOverride.encode({ type: 2, length: interruptOverride.sizeBytes, source: number, pin }),
  )
  // Of all processors at once; each form of entry has its own for that.
  const nmis = [localApicNmi.encode({ type: 4, length: localApicNmi.sizeBytes, uid: 0xff, lint: lint1 })]
  if (processors.some(needsX2apic)) {
    nmis.push(localX2apicNmi.encode({ type: 10, length: localX2apicNmi.sizeBytes, uid: 0xffff_ffff, lint: lint1 }))
  }
  const body = concatenate([
    head.encode({ lapicAddress }),
    ...processors.map(processorEntry),
    ioApic.encode({ type: 1, length: ioApic.sizeBytes, address: ioapicAddress }),
    ...overrides,
    ...nmis,
  ])
  return table('APIC', 5, 'CHMADT', body)
}
