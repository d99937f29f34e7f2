import { concatenate } from '../util/bytes.ts'
import { type Aml, eisaId, integer, string } from './aml/encoding.ts'
import { and, ifThen, local, notify, reference, store } from './aml/expressions.ts'
import { device, field, method, name, operationRegion, packageOf, scope } from './aml/objects.ts'
import {
  type AddressRange,
  addressSpace,
  interrupt,
  ioPorts,
  memory32Fixed,
  resourceTemplate,
} from './aml/resources.ts'
import { type AcpiContribution, type GedEvent, gedEvents } from './contribution.ts'
import { type AcpiTable, table } from './table.ts'

/** A segment has one bus, whose functions signal by messages: it needs no interrupt routing table. */
export interface PciSegmentDescription {
  readonly segment: number
  readonly ecamAddress: number
  readonly ecamBytes: number
  readonly mmio32: AddressRange
  readonly mmio64: AddressRange
  /** Port windows, none but in the first segment, around the ports of configuration mechanism 1. */
  readonly ports: readonly AddressRange[]
}

export interface DsdtDescription {
  /** Unique ids of the processors, as in the MADT. */
  readonly processorUids: readonly number[]
  readonly segments: readonly PciSegmentDescription[]
  /** Registers of the platform's own devices, which no other device may be placed on. */
  readonly platformMmio: AddressRange
  /** A 16550 with eight ports. */
  readonly serial: { readonly port: number; readonly interrupt: number } | undefined
  /** The clock at two ports. */
  readonly rtcPort?: number | undefined
  /** The notification register of the Generic Event Device, and its interrupt, edge-triggered. */
  readonly ged: { readonly address: number; readonly interrupt: number }
  readonly contributions: readonly AcpiContribution[]
}

/**
 * Differentiated System Description Table: the devices that cannot be enumerated otherwise. Everything but the handler of
 * events is constant data, so that booting evaluates no method.
 */
export function dsdt(description: DsdtDescription): AcpiTable {
  const { segments, serial, rtcPort, ged, contributions } = description
  const terms = concatenate([
    scope(
      '\\_SB',
      processors(description.processorUids),
      ...segments.map(pciHostBridge),
      motherboard(segments, description.platformMmio),
      ...(serial === undefined ? [] : [serialPort(serial.port, serial.interrupt)]),
      ...(rtcPort === undefined ? [] : [realTimeClock(rtcPort)]),
      device('PWRB', name('_HID', eisaId('PNP0C0C')), name('_UID', integer(0))),
    ),
    softOff(),
    ...contributions.flatMap(contribution => contribution.dsdt ?? []),
    // Last, so that what it calls is known to readers of the table by then.
    scope('\\_SB', genericEventDevice(ged.address, ged.interrupt, contributions)),
  ])
  return table('DSDT', 2, 'CHDSDT', terms)
}

/** `C000`, `PC00`: a letter or two and hexadecimal digits, four characters in all. */
function numberedName(prefix: string, number: number): string {
  return (
    prefix +
    number
      .toString(16)
      .toUpperCase()
      .padStart(4 - prefix.length, '0')
  )
}

/** Processor devices (ACPI 6.5 §8.4) have nothing to evaluate: the MADT says the rest, by the same unique id. */
function processors(uids: readonly number[]): Aml {
  const devices = uids.map(uid =>
    device(numberedName('C', uid), name('_HID', string('ACPI0007')), name('_UID', integer(uid))),
  )
  return device(
    'CPUS',
    name('_HID', string('ACPI0010')),
    name('_CID', eisaId('PNP0A05')),
    name('_UID', integer(0)),
    ...devices,
  )
}

const configAddressPort = 0xcf8
const configPorts = 8

function pciHostBridge({ segment, mmio32, mmio64, ports }: PciSegmentDescription): Aml {
  const onlyBus = { first: 0, last: 0 }
  const resources = [
    addressSpace('bus', 2, onlyBus),
    // Configuration mechanism 1 is the bridge's own.
    ...(segment === 0 ? [ioPorts(configAddressPort, configPorts)] : []),
    ...ports.map(range => addressSpace('io', 2, range)),
    addressSpace('memory', 4, mmio32),
    addressSpace('memory', 8, mmio64),
  ]
  return device(
    numberedName('PC', segment),
    name('_HID', eisaId('PNP0A08')),
    name('_CID', eisaId('PNP0A03')),
    name('_SEG', integer(segment)),
    name('_UID', integer(segment)),
    name('_CCA', integer(1)),
    name('_CRS', resourceTemplate(...resources)),
  )
}

/** The ranges of MCFG must also be somebody's resources (PCI Firmware Specification 3.3 §4.1.2). */
function motherboard(segments: readonly PciSegmentDescription[], platformMmio: AddressRange): Aml {
  const isWritable = true
  const isConsumed = true
  return device(
    'MBRD',
    name('_HID', eisaId('PNP0C02')),
    name('_UID', integer(0)),
    name(
      '_CRS',
      resourceTemplate(
        ...segments.map(({ ecamAddress, ecamBytes }) => memory32Fixed(ecamAddress, ecamBytes, isWritable)),
        addressSpace('memory', 8, platformMmio, isConsumed),
      ),
    ),
  )
}

function serialPort(port: number, interruptNumber: number): Aml {
  return device(
    'COM1',
    name('_HID', eisaId('PNP0501')),
    name('_UID', integer(0)),
    name('_DDN', string('COM1')),
    name('_CRS', resourceTemplate(ioPorts(port, 8), interrupt([interruptNumber], { isEdge: true }))),
  )
}

/** Without an interrupt: the clock gives the time and no alarms. */
function realTimeClock(port: number): Aml {
  return device(
    'RTC',
    name('_HID', eisaId('PNP0B00')),
    name('_UID', integer(0)),
    name('_CRS', resourceTemplate(ioPorts(port, 2))),
  )
}

const buttonPressed = 0x80

/** §5.6.9: an interrupt, and a method that finds out what has happened. Reading the register clears it. */
function genericEventDevice(address: number, interruptNumber: number, contributions: readonly AcpiContribution[]): Aml {
  const handlers: [GedEvent, Aml][] = [['powerButton', notify('\\_SB.PWRB', buttonPressed)]]
  for (const event of ['cpus', 'memory', 'pci', 'powerButton', 'vmGenerationId', 'vmClock'] as const) {
    for (const { onGedEvent } of contributions) {
      const handler = onGedEvent?.[event]
      if (handler !== undefined) handlers.push([event, handler])
    }
  }
  const events = local(0)
  return device(
    'GED',
    name('_HID', string('ACPI0013')),
    name('_UID', integer(0)),
    name('_CRS', resourceTemplate(interrupt([interruptNumber], { isEdge: true }))),
    operationRegion('GDST', 'memory', address, 1),
    field('GDST', { access: 'byte', update: 'zeros' }, [{ name: 'GDAT', bits: 8 }]),
    method(
      '_EVT',
      { argumentCount: 1, isSerialized: true },
      store(reference('GDAT'), events),
      ...handlers.map(([event, handler]) => ifThen(and(events, integer(gedEvents[event])), handler)),
    ),
  )
}

/** What to write into the sleep control register to power off: SLP_TYP 5. */
export const softOffType = 5

/** Types for both PM1 control registers, of which the first also serves the sleep control register (§7.4.2). */
function softOff(): Aml {
  return name('_S5', packageOf(integer(softOffType), integer(softOffType), integer(0), integer(0)))
}
