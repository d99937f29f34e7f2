import { concatenate } from '../util/bytes.ts'
import * as aml from './aml.ts'
import { table } from './tables.ts'

export interface Range {
  readonly first: number
  readonly last: number
}

export interface PciSegmentDescription {
  readonly segment: number
  readonly ecamAddress: number
  readonly ecamBytes: number
  readonly mmio32: Range
  readonly mmio64: Range
  /** Ports belong to the first segment alone. */
  readonly ports: readonly Range[]
}

export interface DsdtDescription {
  readonly cpuCount: number
  readonly segments: readonly PciSegmentDescription[]
  readonly serial: { readonly port: number; readonly interrupt: number } | undefined
  readonly ged: { readonly address: number; readonly interrupt: number }
}

/** What the Generic Event Device finds in its register; one bit an event. */
export const gedEvents = { cpus: 1, memory: 2, pci: 4, powerButton: 8 } as const

/** Differentiated System Description Table: the devices that cannot be enumerated otherwise. */
export function dsdt(description: DsdtDescription): Uint8Array<ArrayBuffer> {
  const { segments, serial, ged } = description
  return table(
    'DSDT',
    6,
    'CHDSDT',
    concatenate([
      aml.scope(
        '\\_SB',
        processors(description.cpuCount),
        ...segments.map(pciHostBridge),
        configurationSpace(segments),
        ...(serial === undefined ? [] : [serialPort(serial.port, serial.interrupt)]),
        powerButton(),
        genericEventDevice(ged.address, ged.interrupt),
      ),
      softOff(),
    ]),
  )
}

/** Processor devices (§8.4) have nothing to evaluate: the MADT says the rest, by the same unique id. */
function processors(count: number): aml.Aml {
  const devices = Array.from({ length: count }, (_, index) => {
    const suffix = index.toString(16).toUpperCase().padStart(3, '0')
    return aml.device(`C${suffix}`, aml.name('_HID', aml.string('ACPI0007')), aml.name('_UID', aml.integer(index)))
  })
  return aml.device(
    'CPUS',
    aml.name('_HID', aml.string('ACPI0010')),
    aml.name('_CID', aml.eisaId('PNP0A05')),
    ...devices,
  )
}

function pciHostBridge({ segment, mmio32, mmio64, ports }: PciSegmentDescription): aml.Aml {
  const windows = [
    aml.addressSpace('bus', 2, 0, 0),
    ...ports.map(({ first, last }) => aml.addressSpace('io', 2, first, last)),
    aml.addressSpace('memory', 4, mmio32.first, mmio32.last),
    aml.addressSpace('memory', 8, mmio64.first, mmio64.last),
    // Mechanism 1 is the bridge's own, not handed on.
    ...(segment === 0 ? [aml.ioPorts(0xcf8, 8)] : []),
  ]
  const suffix = segment.toString(16).toUpperCase().padStart(3, '0')
  return aml.device(
    segment === 0 ? 'PCI0' : `P${suffix}`,
    aml.name('_HID', aml.eisaId('PNP0A08')),
    aml.name('_CID', aml.eisaId('PNP0A03')),
    aml.name('_SEG', aml.integer(segment)),
    aml.name('_UID', aml.integer(segment)),
    aml.name('_ADR', aml.integer(0)),
    aml.name('_CCA', aml.integer(1)),
    aml.name('SUPP', aml.integer(0)),
    aml.name('_CRS', aml.resources(...windows)),
  )
}

/** MCFG's ranges must also be somebody's resources (PCI Firmware Specification 3.3 §4.1.2). */
function configurationSpace(segments: readonly PciSegmentDescription[]): aml.Aml {
  const ranges = segments.map(({ ecamAddress, ecamBytes }) => aml.memory32Fixed(ecamAddress, ecamBytes, true))
  return aml.device(
    'MBRD',
    aml.name('_HID', aml.eisaId('PNP0C02')),
    aml.name('_UID', aml.integer(0)),
    aml.name('_CRS', aml.resources(...ranges)),
  )
}

function serialPort(port: number, interrupt: number): aml.Aml {
  return aml.device(
    'COM1',
    aml.name('_HID', aml.eisaId('PNP0501')),
    aml.name('_UID', aml.integer(0)),
    aml.name('_DDN', aml.string('COM1')),
    aml.name('_CRS', aml.resources(aml.interrupt(interrupt, true), aml.ioPorts(port, 8))),
  )
}

function powerButton(): aml.Aml {
  return aml.device('PWRB', aml.name('_HID', aml.eisaId('PNP0C0C')), aml.name('_UID', aml.integer(0)))
}

/** §5.6.9: an interrupt, and a method that looks up what happened. Reading the register clears it. */
function genericEventDevice(address: number, interrupt: number): aml.Aml {
  return aml.device(
    'GEC_',
    aml.name('_HID', aml.string('ACPI0013')),
    aml.name('_UID', aml.integer(0)),
    aml.name('_CRS', aml.resources(aml.interrupt(interrupt, true))),
    aml.operationRegion('GDST', 0, BigInt(address), 1),
    aml.field('GDST', [{ name: 'GDAT', bits: 8 }]),
    aml.method(
      '_EVT',
      1,
      true,
      aml.store(aml.reference('GDAT'), aml.local(0)),
      aml.ifThen(aml.and(aml.local(0), aml.integer(gedEvents.powerButton)), aml.notify('\\_SB.PWRB', 0x80)),
    ),
  )
}

/** What to write into the sleep control register to power off: SLP_TYP 5. */
export const softOffType = 5

function softOff(): aml.Aml {
  return aml.name('_S5', aml.packageOf(aml.integer(softOffType)))
}
