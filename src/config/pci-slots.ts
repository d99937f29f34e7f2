import { TsvmmError } from '../util/errors.ts'
import { fail, failConflict } from './checks.ts'
import type { VmConfig } from './vm-config.ts'

/** Of a PCI segment; slot 0 is the host bridge's. */
const slots = { first: 1, last: 31 } as const

interface PciDevice {
  readonly pci_device_id?: number | undefined
}

/** What must hold for the slots that are asked for. Throws ERR_CONFIG_INVALID naming flag and key. */
export function checkSlots({ console, disks, net, rng }: VmConfig): void {
  const owners = new Map<number, string>()
  const check = (flag: string, { pci_device_id: slot }: PciDevice) => {
    if (slot === undefined) return
    if (slot < slots.first || slot > slots.last) {
      fail(flag, `pci_device_id: ${slot} is not in ${slots.first}..${slots.last}`)
    }
    const owner = owners.get(slot)
    if (owner !== undefined) failConflict(flag, `pci_device_id: ${slot} is taken by a device of ${owner}`)
    owners.set(slot, flag)
  }
  if (console.mode !== 'Off') check('--console', console)
  for (const disk of disks) check('--disk', disk)
  for (const card of net) check('--net', card)
  check('--rng', rng)
}

/**
 * The configuration with a slot for every device: in Cloud Hypervisor's order, console, disks, cards, random source, each gets
 * the lowest that is free and that no other asks for. Throws ERR_RESOURCE_EXHAUSTED.
 */
export function withSlots(config: VmConfig): VmConfig {
  const { console, disks, net, rng } = config
  const all: readonly PciDevice[] = [...(console.mode === 'Off' ? [] : [console]), ...disks, ...net, rng]
  const taken = new Set(all.map(device => device.pci_device_id))
  const placed = <D extends PciDevice>(device: D): D => {
    if (device.pci_device_id !== undefined) return device
    const slot = freeSlot(taken)
    taken.add(slot)
    return { ...device, pci_device_id: slot }
  }
  return {
    ...config,
    console: console.mode === 'Off' ? console : placed(console),
    disks: disks.map(placed),
    net: net.map(placed),
    rng: placed(rng),
  }
}

function freeSlot(taken: ReadonlySet<number | undefined>): number {
  for (let slot: number = slots.first; slot <= slots.last; slot += 1) if (!taken.has(slot)) return slot
  throw new TsvmmError('ERR_RESOURCE_EXHAUSTED', {
    what: 'PCI slots',
    reason: `a segment has ${slots.last} for devices`,
  })
}
