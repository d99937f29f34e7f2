import { integer, string } from './aml/encoding.ts'
import { notify } from './aml/expressions.ts'
import { device, name, packageOf, scope } from './aml/objects.ts'
import { type AddressRange, addressSpace, resourceTemplate } from './aml/resources.ts'
import type { AcpiContribution } from './contribution.ts'

const changed = 0x80

/**
 * Virtual Machine Generation ID (Microsoft, 2012): ADDR gives the halves of the address of its 16 bytes, a notification
 * says that they are others. Drivers look for the second and third name; the first is of the form that ACPI wants.
 */
export function vmGenerationId(address: number): AcpiContribution {
  const halves = [address % 2 ** 32, Math.floor(address / 2 ** 32)].map(half => integer(half))
  return {
    dsdt: [
      scope(
        '\\_SB',
        device(
          'VGEN',
          name('_HID', string('TSVM0001')),
          name('_CID', packageOf(string('VMGENCTR'), string('VM_Gen_Counter'))),
          name('_DDN', string('VM_Gen_Counter')),
          name('_UID', integer(0)),
          name('ADDR', packageOf(...halves)),
        ),
      ),
    ],
    onGedEvent: { vmGenerationId: notify('\\_SB.VGEN', changed) },
  }
}

/** The VM clock (VMClock specification of the UAPI group): its page is its resource, a notification says that it has changed. */
export function vmClock(page: AddressRange): AcpiContribution {
  const isConsumed = true
  return {
    dsdt: [
      scope(
        '\\_SB',
        device(
          'VCLK',
          name('_HID', string('AMZNC10C')),
          name('_CID', string('VMCLOCK')),
          name('_DDN', string('VMCLOCK')),
          name('_UID', integer(0)),
          name('_CRS', resourceTemplate(addressSpace('sharedMemory', 8, page, isConsumed))),
        ),
      ),
    ],
    onGedEvent: { vmClock: notify('\\_SB.VCLK', changed) },
  }
}
