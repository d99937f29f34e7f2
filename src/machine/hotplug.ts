import type { DiskConfig, NetConfig } from '../config/vm-config.ts'
import type { AcpiPciHotplug } from '../devices/acpi-pci-hotplug.ts'
import { stateless } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { TsvmmError } from '../util/errors.ts'
import type { VirtioDevice } from '../virtio/device.ts'
import type { Machine } from './machine.ts'

/** A device in its slot, off the machine's list. */
export interface PluggedDevice {
  readonly device: Component & Pick<VirtioDevice, 'resize'>
  /** Closing it takes it out of the slot; to be closed before its device. */
  readonly transport: Component & { readonly slot: number; readonly pciAddress: string }
}

/** Where clients find a device. */
export interface DevicePlace {
  readonly id: string
  /** `0000:00:04.0`. */
  readonly pciAddress: string
}

/** A device that shall come, of a settled configuration. */
export type NewDevice =
  | { readonly list: 'disks'; readonly config: DiskConfig }
  | { readonly list: 'net'; readonly config: NetConfig }

/** Makes devices, which are the caller's to close; nothing of one is left open where that fails. */
export interface DeviceMaker {
  make(device: NewDevice): Promise<PluggedDevice>
}

export interface DeviceHotplugOptions {
  readonly components: Machine
  readonly controller: Pick<AcpiPciHotplug, 'arrive' | 'ask' | 'forget' | 'unwanted' | 'onEject'>
  /** Tells the guest that the controller has news. */
  notify(): void
  /** The device is gone, and all that it had of the host is given back. */
  onRemoved(id: string): void
}

/**
 * Lets devices come and go while their machine runs or is paused. A new one takes its place in the machine's list in front of
 * this component; one that shall go does so when the guest ejects it, or at the next reset.
 */
export class DeviceHotplug implements Component {
  readonly name = '__device_hotplug'
  /** The controller has what the guest can see of it, the configuration the rest. */
  readonly state = stateless
  readonly #options: DeviceHotplugOptions
  /** By slot. */
  readonly #devices = new Map<number, PluggedDevice>()
  #maker: DeviceMaker | undefined
  /** What is on its way out. */
  #leaving: Promise<void> = Promise.resolve()
  #isPaused = false

  constructor(options: DeviceHotplugOptions) {
    this.#options = options
    options.controller.onEject = slot => this.#eject(slot)
  }

  /** The devices that are there from the start and can be removed, and who makes more of them. */
  begin(devices: readonly PluggedDevice[], maker: DeviceMaker): void {
    for (const plugged of devices) this.#devices.set(plugged.transport.slot, plugged)
    this.#maker = maker
  }

  /** Adds a device and tells the guest. Nothing of it is left where that fails. */
  async add(device: NewDevice): Promise<DevicePlace> {
    const { components, controller, notify } = this.#options
    if (this.#maker === undefined) throw new RangeError('the machine is not built yet')
    // What the new one wants may be what another has that is on its way out.
    await this.#leaving
    const plugged = await this.#maker.make(device)
    const parts = [plugged.transport, plugged.device]
    try {
      if (this.#isPaused) for (const part of parts) await part.pause()
      components.add(plugged.device, this)
      components.add(plugged.transport, this)
    } catch (error) {
      await closeAll(parts)
      throw error
    }
    const { slot, pciAddress } = plugged.transport
    this.#devices.set(slot, plugged)
    controller.arrive(slot)
    notify()
    return { id: plugged.device.name, pciAddress }
  }
  /**
   * Asks the guest to eject a device; `onRemoved` tells when it is gone. May be asked again of a guest that did not hear. Throws
   * ERR_DEVICE_UNKNOWN, and ERR_DEVICE_FIXED for what cannot be removed.
   */
  remove(id: string): void {
    const { controller, notify } = this.#options
    const plugged = this.#find(id)
    if (plugged === undefined) throw new TsvmmError('ERR_DEVICE_FIXED', { id })
    controller.ask(plugged.transport.slot)
    notify()
  }

  /** Makes a disk larger and tells the guest. Throws ERR_DEVICE_UNKNOWN, ERR_DEVICE_SIZE and ERR_DISK. */
  resize(id: string, sizeBytes: number): void {
    const device = this.#find(id)?.device
    if (device?.resize === undefined) throw new TsvmmError('ERR_DEVICE_SIZE', { id, reason: 'only disks can be' })
    device.resize(sizeBytes)
  }

  /** Undefined where it is there and belongs to the machine. Throws ERR_DEVICE_UNKNOWN. */
  #find(id: string): PluggedDevice | undefined {
    const plugged = [...this.#devices.values()].find(({ device }) => device.name === id)
    if (plugged !== undefined) return plugged
    if (this.#options.components.describe().some(device => device.id === id)) return undefined
    throw new TsvmmError('ERR_DEVICE_UNKNOWN', { id })
  }

  /** Removes all that shall go, as a guest that begins anew knows nothing of it. */
  async finishRemovals(): Promise<void> {
    for (const slot of this.#options.controller.unwanted) this.#eject(slot)
    await this.#leaving
  }

  /** What the guest has ejected is finished with. */
  async pause(): Promise<void> {
    this.#isPaused = true
    await this.#leaving
  }

  resume(): void {
    this.#isPaused = false
  }

  reset(): void {}

  async close(): Promise<void> {
    await this.#leaving
  }

  /** Out of the guest's sight at once; what the host has of it is given back when its work is finished. */
  #eject(slot: number): void {
    const plugged = this.#devices.get(slot)
    // A guest may eject what is not there, and cannot what belongs to the machine.
    if (plugged === undefined) return
    const { components, controller, onRemoved } = this.#options
    const { device, transport } = plugged
    this.#devices.delete(slot)
    controller.forget(slot)
    components.remove(transport)
    components.remove(device)
    // What fails to close must neither pass unseen nor hold the machine up.
    const report = (error: unknown) => process.emitWarning(error instanceof Error ? error : String(error))
    const closed = closeAll([transport, device]).catch(report)
    this.#leaving = Promise.all([this.#leaving, closed])
      .then(() => onRemoved(device.name))
      .catch(report)
  }
}

/** In this order; the first failure is thrown when all are closed. */
async function closeAll(components: readonly Component[]): Promise<void> {
  const failures: unknown[] = []
  for (const component of components) await component.close().catch((error: unknown) => failures.push(error))
  if (failures.length > 0) throw failures[0]
}
