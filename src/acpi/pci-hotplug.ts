import { type Aml, eisaId, integer, string } from './aml/encoding.ts'
import {
  acquire,
  and,
  argument,
  call,
  ifThen,
  notifyWith,
  one,
  reference,
  release,
  returnValue,
  shiftLeft,
  store,
  zero,
} from './aml/expressions.ts'
import { device, field, method, mutex, name, operationRegion, scope } from './aml/objects.ts'
import type { AcpiContribution } from './contribution.ts'

/** Registers of the PCI hotplug controller, Cloud Hypervisor's, of 32 bits each; a bit a slot but for the segment. */
export const pciHotplugRegisters = {
  /** Functions that have come, and that shall go: reading clears. */
  arrived: 0,
  leaving: 4,
  /** Writing ejects. */
  eject: 8,
  /** Of which the others tell. */
  segment: 12,
  sizeBytes: 16,
} as const

/** The one segment that there is. */
const segment = integer(0)
const bridge = '\\_SB.PC00'
const lastSlot = 31
/** All but slot 0, the host bridge's. */
const slots = Array.from({ length: lastSlot }, (_, index) => index + 1)

/** Notifications (ACPI 6.5 §5.6.6). */
const deviceCheck = integer(1)
const ejectRequest = integer(3)

/** Present, enabled and working (§6.3.7), and of no interest to people. */
const controllerStatus = 0x0b

/**
 * Each slot can be ejected, and on the event the guest asks which of them have changed. A mutex keeps the choice of a segment
 * and what follows it together. The registers are among the motherboard's resources.
 */
export function pciHotplug(address: number): AcpiContribution {
  const controller = device(
    'PHPR',
    name('_HID', eisaId('PNP0A06')),
    name('_STA', integer(controllerStatus)),
    name('_UID', string('PCI Hotplug Controller')),
    mutex('BLCK'),
    operationRegion('PCST', 'memory', address, pciHotplugRegisters.sizeBytes),
    field('PCST', { access: 'doubleWord', update: 'zeros' }, [
      { name: 'PCIU', bits: 32 },
      { name: 'PCID', bits: 32 },
      { name: 'B0EJ', bits: 32 },
      { name: 'PSEG', bits: 32 },
    ]),
    method(
      'PCEJ',
      { argumentCount: 2, isSerialized: true },
      acquire('BLCK'),
      store(argument(1), reference('PSEG')),
      shiftLeft(one, argument(0), reference('B0EJ')),
      release('BLCK'),
      returnValue(zero),
    ),
    method('PSCN', { isSerialized: true }, call(`${bridge}.PCNT`)),
  )
  return {
    dsdt: [scope('\\_SB', controller), bridgeSlots],
    onGedEvent: { pci: call('\\_SB.PHPR.PSCN') },
  }
}

function slotName(slot: number): string {
  return `S${String(slot).padStart(3, '0')}`
}

function pciSlot(slot: number): Aml {
  return device(
    slotName(slot),
    name('_SUN', integer(slot)),
    name('_ADR', integer(slot * 0x1_0000)),
    method('_EJ0', { argumentCount: 1, isSerialized: true }, call('\\_SB.PHPR.PCEJ', integer(slot), segment)),
  )
}

/** DVNT notifies the slots whose bits are set in its first argument, PCNT those that have changed. */
function scanMethods(): Aml[] {
  const notifications = slots.map(slot =>
    ifThen(and(argument(0), integer(2 ** slot)), notifyWith(slotName(slot), argument(1))),
  )
  return [
    method('DVNT', { argumentCount: 2, isSerialized: true }, ...notifications),
    method(
      'PCNT',
      { isSerialized: true },
      acquire('\\_SB.PHPR.BLCK'),
      store(segment, reference('\\_SB.PHPR.PSEG')),
      call('DVNT', reference('\\_SB.PHPR.PCIU'), deviceCheck),
      call('DVNT', reference('\\_SB.PHPR.PCID'), ejectRequest),
      release('\\_SB.PHPR.BLCK'),
    ),
  ]
}

/** The same in every machine, and so made with the module: a startup snapshot has it. */
const bridgeSlots = scope(bridge, ...slots.map(pciSlot), ...scanMethods())
