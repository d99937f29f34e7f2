import type { VmConfig } from './vm-config.ts'

const prefixes = { disks: '_disk', net: '_net' } as const

/** The lists of devices that can come and go. */
export type DeviceList = keyof typeof prefixes

interface Device {
  readonly id?: string | undefined
}

/** Devices without an id get Cloud Hypervisor's: `_disk0`, `_net1`, counted over all devices of the machine. */
export function withIds(config: VmConfig): VmConfig {
  const ids = new DeviceIds(config)
  return {
    ...config,
    disks: config.disks.map(disk => ids.named('disks', disk)),
    net: config.net.map(card => ids.named('net', card)),
  }
}

/** Names devices, none with a number that was used before. */
export class DeviceIds {
  readonly #taken: Set<string | undefined>
  #count: number

  constructor({ disks, net }: Pick<VmConfig, DeviceList>, first = 0) {
    this.#taken = new Set([...disks, ...net].map(device => device.id))
    this.#count = first
  }

  /** What comes later to a machine of this configuration is counted on from its devices. */
  static after(config: VmConfig): DeviceIds {
    const numbers = [...config.disks, ...config.net].map(({ id = '' }) =>
      Number(/^_(?:disk|net)(\d+)$/.exec(id)?.[1] ?? -1),
    )
    return new DeviceIds(config, Math.max(-1, ...numbers) + 1)
  }

  named<D extends Device>(list: DeviceList, device: D): D {
    if (device.id !== undefined) return device
    while (this.#taken.has(`${prefixes[list]}${this.#count}`)) this.#count += 1
    return { ...device, id: `${prefixes[list]}${this.#count++}` }
  }
}
