import type { PciSegmentDescription } from '../acpi/dsdt.ts'
import { openDisk } from '../backends/disk.native.ts'
import { openRandomSource } from '../backends/random-source.ts'
import { openTap, tapOffloads } from '../backends/tap.native.ts'
import type { DiskConfig, NetConfig, VmConfig } from '../config/vm-config.ts'
import type { KvmVirtualMachine } from '../hypervisor/kvm.native.ts'
import type { InterruptRoutes } from '../interrupts/routes.ts'
import { PciFunction } from '../pci/function.ts'
import { ConfigPorts, PciSegment } from '../pci/segment.ts'
import { VirtioBlk } from '../virtio/blk.ts'
import { VirtioConsole } from '../virtio/console.ts'
import type { VirtioDevice } from '../virtio/device.ts'
import { createBlockBackend, createMailboxBackend, createNetBackend } from '../virtio/engines.native.ts'
import { netFeatures, VirtioNet } from '../virtio/net.ts'
import { VirtioPciTransport } from '../virtio/pci-transport.ts'
import { VirtioRng } from '../virtio/rng.ts'
import { openChardev } from './chardevs.ts'
import type { Machine } from './machine.ts'

export interface PciDevicesOptions {
  readonly config: VmConfig
  readonly components: Machine
  readonly vm: KvmVirtualMachine
  readonly routes: InterruptRoutes
  readonly segments: readonly PciSegmentDescription[]
  /** Where the BAR of a slot's function is at power-on. */
  barAddress(slot: number): number
  /** Where configuration mechanism 1 is. */
  readonly configPort: number
  /** A device does nothing more until its driver resets it. */
  onNeedsReset(device: string, reason: string): void
  /** The person at the terminal asks for the end. */
  onEnd(): void
}

/** Cloud Hypervisor's host bridge. */
const hostBridge = {
  ...{ vendor: 0x8086, device: 0x0d57, baseClass: 0x06, subclass: 0x00, revision: 0 },
  ...{ subsystemVendor: 0, subsystem: 0 },
}

/** The PCI segment and the devices in it, each in the slot that its configuration names. */
export async function addPciDevices(options: PciDevicesOptions): Promise<void> {
  const { config, components, vm, segments } = options
  const [first] = segments
  if (first === undefined) return
  const segment = components.add(new PciSegment(first.segment, vm.bus, first.ecamAddress))
  const ports = components.add(new ConfigPorts(first.ecamAddress, 1))
  vm.bus.map('pio', options.configPort, ports)
  segment.plug(0, components.add(new PciFunction('__host_bridge', segment.configSpace(0, hostBridge), vm.bus)))
  const plug = (device: VirtioDevice, slot: number | undefined) => {
    if (slot === undefined) throw new RangeError(`${device.name} has no slot: its configuration is not settled`)
    components.add(device)
    components.add(
      new VirtioPciTransport({
        device,
        segment,
        bus: vm.bus,
        router: options.routes,
        doorbells: vm.doorbells,
        slot,
        barAddress: options.barAddress(slot),
        createEventFd: () => vm.createEventFd(),
        onNeedsReset: reason => options.onNeedsReset(device.name, reason),
      }),
    )
  }
  const { console, disks, net, rng } = config
  if (console.mode !== 'Off') plug(await consoleOf(config, vm, options.onEnd), console.pci_device_id)
  for (const disk of disks) plug(diskOf(disk, vm), disk.pci_device_id)
  for (const card of net) plug(cardOf(card, vm), card.pci_device_id)
  plug(await randomSourceOf(rng.src, vm), rng.pci_device_id)
}

async function consoleOf(config: VmConfig, vm: KvmVirtualMachine, onEnd: () => void): Promise<VirtioDevice> {
  const chardev = await openChardev('--console', config.console, onEnd)
  return new VirtioConsole({
    name: '__console',
    chardev,
    createBackend: handlers => createMailboxBackend(vm.nativeMemory, '__console', handlers),
  })
}

function diskOf(config: DiskConfig, vm: KvmVirtualMachine): VirtioDevice {
  const { path, readonly: isReadOnly, direct: isDirect, sparse: isSparse, num_queues, queue_size, id } = config
  const name = id ?? path
  const disk = openDisk({ path, isReadOnly, isDirect, isFormatUnknown: config.image_type === 'Unknown' })
  return new VirtioBlk({
    name,
    sizeBytes: disk.sizeBytes,
    logicalBlockBytes: disk.logicalBlockBytes,
    physicalBlockBytes: Math.max(disk.logicalBlockBytes, disk.alignmentBytes),
    isReadOnly,
    queues: num_queues,
    queueSize: queue_size,
    canDiscard: disk.canDiscard && isSparse,
    canWriteZeroes: disk.canWriteZeroes,
    createBackend: onFailure =>
      createBlockBackend(vm.nativeMemory, {
        name,
        fd: disk.fd,
        sizeBytes: disk.sizeBytes,
        isReadOnly,
        alignmentBytes: disk.alignmentBytes,
        serial: config.serial ?? name,
        isSparse,
        onFailure,
      }),
    closeDisk: () => disk.close(),
  })
}

function cardOf(config: NetConfig, vm: KvmVirtualMachine): VirtioDevice {
  const { tap: tapName, fds, ip, mask, mac, host_mac, mtu, num_queues, queue_size, id } = config
  const name = id ?? tapName ?? 'net'
  if (mac === undefined) throw new RangeError(`${name} has no address: its configuration is not settled`)
  const queuePairs = num_queues / 2
  const hostMac = host_mac === undefined ? undefined : macBytes(host_mac)
  const tap = openTap({ name: tapName, fds, queuePairs, ip, mask, hostMac, mtu })
  return new VirtioNet({
    name,
    mac: macBytes(mac),
    mtu,
    queuePairs,
    queueSize: queue_size,
    offloads: { tso: config.offload_tso, ufo: config.offload_ufo, csum: config.offload_csum },
    createBackend: onFailure => createNetBackend(vm.nativeMemory, { name, tapFds: tap.fds, onFailure }),
    createControl: handlers => createMailboxBackend(vm.nativeMemory, `${name}_ctrl`, handlers),
    setGuestOffloads: features => tap.setOffloads(tapFlags(features)),
    closeTap: () => tap.close(),
  })
}

async function randomSourceOf(path: string, vm: KvmVirtualMachine): Promise<VirtioDevice> {
  const source = await openRandomSource(path)
  return new VirtioRng({
    name: '__rng',
    readRandom: lengthBytes => source.read(lengthBytes),
    createBackend: handlers => createMailboxBackend(vm.nativeMemory, '__rng', handlers),
    closeSource: () => source.close(),
  })
}

function tapFlags(features: bigint): number {
  const on = (feature: bigint, flag: number) => ((features & feature) !== 0n ? flag : 0)
  return (
    on(netFeatures.guestCsum, tapOffloads.csum) |
    on(netFeatures.guestTso4, tapOffloads.tso4) |
    on(netFeatures.guestTso6, tapOffloads.tso6) |
    on(netFeatures.guestEcn, tapOffloads.ecn) |
    on(netFeatures.guestUfo, tapOffloads.ufo)
  )
}

function macBytes(text: string): Uint8Array {
  return Uint8Array.from(text.split(':'), part => Number.parseInt(part, 16))
}
