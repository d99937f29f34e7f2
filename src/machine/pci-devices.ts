import type { PciSegmentDescription } from '../acpi/dsdt.ts'
import type { VmConfig } from '../config/vm-config.ts'
import type { KvmVirtualMachine } from '../hypervisor/kvm.native.ts'
import type { InterruptRoutes } from '../interrupts/routes.ts'
import { PciFunction } from '../pci/function.ts'
import { ConfigPorts, PciSegment } from '../pci/segment.ts'
import { blkType } from '../virtio/blk.ts'
import type { VirtioDevice } from '../virtio/device.ts'
import { VirtioPciTransport } from '../virtio/pci-transport.ts'
import { RateLimitGroup } from '../virtio/rate-limiter.ts'
import type { Chardevs } from './chardevs.ts'
import type { HandedOver } from './handover.native.ts'
import type { DeviceMaker, NewDevice, PluggedDevice } from './hotplug.ts'
import type { Machine } from './machine.ts'
import { limiterOf, type SharedLimiter } from './rate-limits.ts'
import { cardOf, consoleOf, diskOf, randomSourceOf } from './virtio-devices.ts'

export interface PciDevicesOptions {
  readonly config: VmConfig
  readonly chardevs: Chardevs
  readonly components: Machine
  readonly vm: KvmVirtualMachine
  readonly routes: InterruptRoutes
  readonly segment: PciSegmentDescription
  /** Where the BAR of a slot's function is at power-on; disks have theirs below 4 GiB. */
  barAddress(slot: number, isDisk: boolean): number
  /** Where configuration mechanism 1 is. */
  readonly configPort: number
  /** What only one machine may have is claimed later on, of the devices of the configuration. */
  readonly isClaimedLater: boolean
  /** What another process of this host had of the devices of the configuration. */
  readonly handedOver: HandedOver | undefined
  /** A device does nothing more until its driver resets it. */
  onNeedsReset(device: string, reason: string): void
  /** Something is wrong with a disk's image: the guest gets I/O errors where that is. */
  onDiskFault(device: string, reason: string): void
}

/** Cloud Hypervisor's host bridge. */
const hostBridge = {
  ...{ vendor: 0x8086, device: 0x0d57, baseClass: 0x06, subclass: 0x00, revision: 0 },
  ...{ subsystemVendor: 0, subsystem: 0 },
}

/** The PCI segment and what is made to be in it, each device in the slot that its configuration names. */
export class PciDevices implements DeviceMaker {
  readonly #options: PciDevicesOptions
  /** By group; those that limit nothing are left out. */
  readonly #groups = new Map<string, SharedLimiter>()
  readonly #segment: PciSegment

  /** Adds the segment with its host bridge. */
  constructor(options: PciDevicesOptions) {
    const { components, vm, segment, configPort } = options
    this.#options = options
    this.#segment = components.add(new PciSegment(segment.segment, vm.bus, segment.ecamAddress))
    const ports = components.add(new ConfigPorts(segment.ecamAddress, 1))
    vm.bus.map('pio', configPort, ports)
    const space = this.#segment.configSpace(0, hostBridge)
    this.#segment.plug(0, components.add(new PciFunction('__host_bridge', space, vm.bus)))
  }

  /** Adds the devices of the configuration in Cloud Hypervisor's order; returns those that can be removed. */
  async addAll(): Promise<PluggedDevice[]> {
    const { components, config, chardevs, vm } = this.#options
    const { console, disks, net, rng, rate_limit_groups } = config
    for (const { id, rate_limiter_config } of rate_limit_groups) {
      const limiter = limiterOf(rate_limiter_config)
      if (limiter === undefined) continue
      this.#groups.set(id, limiter)
      components.add(new RateLimitGroup(id, limiter))
    }
    const add = (plugged: PluggedDevice) => {
      components.add(plugged.device)
      components.add(plugged.transport)
      return plugged
    }
    if (console.mode !== 'Off') add(await this.#plug(await consoleOf(chardevs, vm), console.pci_device_id))
    const removable: PluggedDevice[] = []
    const { isClaimedLater, handedOver } = this.#options
    const past = { isClaimedLater, handedOver }
    for (const disk of disks) removable.push(add(await this.#make({ list: 'disks', config: disk }, past)))
    for (const card of net) removable.push(add(await this.#make({ list: 'net', config: card }, past)))
    add(await this.#plug(await randomSourceOf(rng.src, vm), rng.pci_device_id))
    return removable
  }

  make(device: NewDevice): Promise<PluggedDevice> {
    return this.#make(device, { isClaimedLater: false, handedOver: undefined })
  }

  async #make(
    { list, config }: NewDevice,
    { isClaimedLater, handedOver }: Pick<PciDevicesOptions, 'isClaimedLater' | 'handedOver'>,
  ): Promise<PluggedDevice> {
    const { vm, onDiskFault: onFault } = this.#options
    const handed = handedOver?.take(config.id ?? '', list === 'disks' ? 1 : config.num_queues / 2)
    const surroundings = { vm, groups: this.#groups, isClaimedLater, onFault }
    const device = list === 'disks' ? await diskOf(config, surroundings, handed) : cardOf(config, vm, handed)
    return this.#plug(device, config.pci_device_id)
  }

  async #plug(device: VirtioDevice, slot: number | undefined): Promise<PluggedDevice> {
    const { vm, routes, barAddress, onNeedsReset } = this.#options
    try {
      if (slot === undefined) throw new RangeError(`${device.name} has no slot: its configuration is not settled`)
      const transport = new VirtioPciTransport({
        device,
        segment: this.#segment,
        bus: vm.bus,
        router: routes,
        doorbells: vm.doorbells,
        slot,
        barAddress: barAddress(slot, device.type === blkType),
        createEventFd: () => vm.createEventFd(),
        onNeedsReset: reason => onNeedsReset(device.name, reason),
      })
      return { device, transport }
    } catch (error) {
      device.backend.close()
      await device.close()
      throw error
    }
  }
}
