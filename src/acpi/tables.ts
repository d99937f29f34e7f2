import { alignUp } from '../util/bytes.ts'
import { TsvmmError } from '../util/errors.ts'
import type { AcpiContribution } from './contribution.ts'
import { type DsdtDescription, dsdt } from './dsdt.ts'
import { type FixedHardware, fadt } from './fadt.ts'
import { type InterruptHardware, madt, type ProcessorDescription } from './madt.ts'
import { mcfg } from './mcfg.ts'
import { rsdp, rsdpBytes } from './rsdp.ts'
import type { AcpiTable } from './table.ts'
import { xsdt } from './xsdt.ts'

/** A machine as its firmware tables tell of it. */
export interface AcpiDescription extends Omit<DsdtDescription, 'processorUids' | 'rtcPort' | 'contributions'> {
  /** Where the RSDP goes; the other tables follow it. */
  readonly address: number
  /** One past the last address that tables may use. */
  readonly end: number
  /** In the order of their numbers; the first is the one that boots. */
  readonly processors: readonly ProcessorDescription[]
  readonly hardware: FixedHardware
  readonly interrupts: InterruptHardware
  readonly contributions?: readonly AcpiContribution[]
}

export interface PlacedTable {
  readonly signature: string
  readonly address: number
  readonly bytes: AcpiTable
}

const tableAlignment = 16

/** All ACPI tables with their addresses, the RSDP first. Throws ERR_RESOURCE_EXHAUSTED where they do not fit. */
export function buildAcpiTables(description: AcpiDescription): PlacedTable[] {
  const { address, end, processors, segments, hardware, interrupts, contributions = [] } = description
  const placed: PlacedTable[] = []
  let next = address + rsdpBytes
  const place = (bytes: AcpiTable): number => {
    const start = alignUp(next, tableAlignment)
    next = start + bytes.length
    placed.push({ signature: Buffer.from(bytes.subarray(0, 4)).toString('latin1'), address: start, bytes })
    return start
  }
  const processorUids = processors.map(processor => processor.uid)
  const dsdtAddress = place(dsdt({ ...description, processorUids, rtcPort: hardware.rtcPort, contributions }))
  const listed = [
    fadt(dsdtAddress, hardware),
    madt(processors, interrupts),
    mcfg(segments),
    ...contributions.flatMap(contribution => contribution.tables ?? []),
  ]
  const xsdtAddress = place(xsdt(listed.map(place)))
  if (next > end) {
    const reason = `${processors.length} processors need ${next - address} bytes of ${end - address}`
    throw new TsvmmError('ERR_RESOURCE_EXHAUSTED', { what: 'room for ACPI tables', reason })
  }
  return [{ signature: 'RSDP', address, bytes: rsdp(xsdtAddress) }, ...placed]
}
