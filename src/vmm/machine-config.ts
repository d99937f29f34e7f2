import { DeviceIds, type DeviceList } from '../config/device-ids.ts'
import { checkDevices } from '../config/rules.ts'
import { settled } from '../config/settle.ts'
import { parseDevices, type VmConfig } from '../config/vm-config.ts'
import type { NewDevice } from '../machine/build.ts'

/** The configuration of a machine whose devices come and go: of those that are there now. */
export class MachineConfig {
  readonly #ids: DeviceIds
  #current: VmConfig

  /** `config` is settled. */
  constructor(config: VmConfig) {
    this.#current = config
    this.#ids = DeviceIds.after(config)
  }

  get current(): VmConfig {
    return this.#current
  }

  /** A device that shall come, checked beside the others, with all that is chosen for it. Throws as parseVmConfig and settled do. */
  plan(list: DeviceList, input: unknown): NewDevice {
    const { disks, net } = parseDevices({ [list]: [input] })
    const config = {
      ...this.#current,
      disks: [...this.#current.disks, ...disks.map(disk => this.#ids.named('disks', disk))],
      net: [...this.#current.net, ...net.map(card => this.#ids.named('net', card))],
    }
    checkDevices(config)
    const { disks: allDisks, net: allCards } = settled(config)
    const [disk, card] = [allDisks.at(-1), allCards.at(-1)]
    if (list === 'disks' && disk !== undefined) return { list, config: disk }
    if (list === 'net' && card !== undefined) return { list, config: card }
    throw new RangeError(`no list of devices ${list}`)
  }

  add({ list, config }: NewDevice): void {
    this.#current = { ...this.#current, [list]: [...this.#current[list], config] }
  }

  remove(id: string): void {
    const { disks, net } = this.#current
    this.#current = {
      ...this.#current,
      disks: disks.filter(disk => disk.id !== id),
      net: net.filter(card => card.id !== id),
    }
  }
}
