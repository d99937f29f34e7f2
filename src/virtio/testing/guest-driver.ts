import type { AccessWidth } from '../../bus/registers.ts'
import type { GuestBus, GuestFunction } from '../../pci/testing/guest-function.ts'
import { commonConfig, deviceStatus } from '../common-config.ts'
import { commonFeatures } from '../device.ts'
import { noVector } from '../transport-state.ts'
import type { SplitQueue } from './split-queue.ts'

type CommonField = keyof typeof commonConfig

/** Where a structure lies in the BAR, from its capability (virtio 1.2 §4.1.4). */
export interface Structure {
  readonly capability: number
  readonly bar: number
  readonly offset: number
  readonly lengthBytes: number
}

const vendorCapability = 0x09
const msixCapability = 0x11
const structureTypes = { common: 1, notify: 2, isr: 3, device: 4, pci: 5 } as const
type StructureName = keyof typeof structureTypes
const widths: Readonly<Record<CommonField, 1 | 2 | 4 | 8>> = {
  ...{ deviceFeatureSelect: 4, deviceFeature: 4, driverFeatureSelect: 4, driverFeature: 4 },
  ...{ configVector: 2, queueCount: 2, deviceStatus: 1, configGeneration: 1 },
  ...{ queueSelect: 2, queueSize: 2, queueVector: 2, queueEnable: 2, queueNotifyOffset: 2 },
  ...{ queueDescriptors: 8, queueDriver: 8, queueDevice: 8 },
}
const lapic = 0xfee0_0000

/** The guest's driver of a virtio device on PCI, by the book (virtio 1.2 §3.1 and §4.1), a step a method. */
export class GuestDriver {
  readonly pci: GuestFunction
  readonly #bus: GuestBus
  readonly #structures: ReadonlyMap<number, Structure>

  /** Finds the structures; to be followed by `pci.enable`. */
  constructor(bus: GuestBus, pci: GuestFunction) {
    this.#bus = bus
    this.pci = pci
    const found = new Map<number, Structure>()
    for (const { id, offset } of pci.capabilities()) {
      if (id !== vendorCapability) continue
      found.set(pci.read(offset + 3, 1), {
        capability: offset,
        bar: pci.read(offset + 4, 1),
        offset: pci.read(offset + 8, 4),
        lengthBytes: pci.read(offset + 12, 4),
      })
    }
    this.#structures = found
  }

  structure(name: StructureName): Structure {
    const structure = this.#structures.get(structureTypes[name])
    if (structure === undefined) throw new Error(`the device has no ${name} structure`)
    return structure
  }

  /** Guest address of a structure. */
  address(name: StructureName): number {
    const { bar, offset } = this.structure(name)
    return this.pci.barAddress(bar) + offset
  }

  /** A field of the common configuration, in its own width (§4.1.3.1). */
  read(field: CommonField): number {
    const width = widths[field]
    const address = this.address('common') + commonConfig[field]
    if (width !== 8) return this.#bus.read('mmio', address, width)
    return this.#bus.read('mmio', address + 4, 4) * 2 ** 32 + this.#bus.read('mmio', address, 4)
  }

  write(field: CommonField, value: number): void {
    const width = widths[field]
    const address = this.address('common') + commonConfig[field]
    this.#bus.write('mmio', address, width === 8 ? 4 : width, value % 2 ** 32)
    if (width === 8) this.#bus.write('mmio', address + 4, 4, Math.floor(value / 2 ** 32))
  }

  readConfig(offset: number, width: AccessWidth): number {
    return this.#bus.read('mmio', this.address('device') + offset, width)
  }

  writeConfig(offset: number, width: AccessWidth, value: number): void {
    this.#bus.write('mmio', this.address('device') + offset, width, value)
  }

  /** Clears it, too (§4.1.4.5). */
  readIsr(): number {
    return this.#bus.read('mmio', this.address('isr'), 1)
  }

  get status(): number {
    return this.read('deviceStatus')
  }

  addStatus(bits: number): void {
    this.write('deviceStatus', this.status | bits)
  }

  /** Writes 0 and waits until the device is there (§4.1.4.3.2). */
  async reset(): Promise<void> {
    this.write('deviceStatus', 0)
    const deadline = Date.now() + 10_000
    while (this.status !== 0) {
      if (Date.now() > deadline) throw new Error('the device does not end its reset')
      await new Promise(resolve => setImmediate(resolve))
    }
  }

  offeredFeatures(): bigint {
    const half = (select: number) => {
      this.write('deviceFeatureSelect', select)
      return BigInt(this.read('deviceFeature'))
    }
    return half(0) | (half(1) << 32n)
  }

  writeFeatures(features: bigint): void {
    for (const select of [0, 1]) {
      this.write('driverFeatureSelect', select)
      this.write('driverFeature', Number((features >> BigInt(32 * select)) & 0xffff_ffffn))
    }
  }

  /** Steps 2 to 6 of §3.1.1; false where the device does not take these features. */
  negotiate(features: bigint): boolean {
    this.addStatus(deviceStatus.acknowledge)
    this.addStatus(deviceStatus.driver)
    this.writeFeatures(features)
    this.addStatus(deviceStatus.featuresOk)
    return (this.status & deviceStatus.featuresOk) !== 0
  }

  setUpQueue(index: number, queue: SplitQueue, vector = noVector): void {
    this.write('queueSelect', index)
    this.write('queueSize', queue.sizeEntries)
    this.write('queueVector', vector)
    this.write('queueDescriptors', queue.descriptorTable)
    this.write('queueDriver', queue.availableRing)
    this.write('queueDevice', queue.usedRing)
    this.write('queueEnable', 1)
  }

  /** Everything from the reset to DRIVER_OK; queue n has vector n + 1, configuration changes have vector 0. */
  async begin(queues: readonly SplitQueue[], features: bigint = commonFeatures.version1): Promise<void> {
    this.pci.enable(true)
    await this.reset()
    if (!this.negotiate(features)) throw new Error('the device refuses these features')
    this.enableMsix(queues.length + 1)
    this.write('configVector', 0)
    queues.forEach((queue, index) => {
      queue.clear()
      this.setUpQueue(index, queue, index + 1)
    })
    this.addStatus(deviceStatus.driverOk)
  }

  /** Vector n delivers the message n. */
  enableMsix(vectors: number): void {
    const capability = this.pci.capabilities().find(each => each.id === msixCapability)
    if (capability === undefined) throw new Error('the device has no MSI-X')
    const place = this.pci.read(capability.offset + 4, 4)
    const table = this.pci.barAddress(place % 8) + place - (place % 8)
    for (let vector = 0; vector < vectors; vector += 1) {
      const entry = [lapic, 0, vector, 0]
      entry.forEach((value, index) => {
        this.#bus.write('mmio', table + 16 * vector + 4 * index, 4, value)
      })
    }
    this.pci.write(capability.offset + 2, 2, 0x8000)
  }

  /** Where a queue's doorbell is (§4.1.4.4). */
  notifyAddress(index: number): number {
    this.write('queueSelect', index)
    const multiplier = this.pci.read(this.structure('notify').capability + 16, 4)
    return this.address('notify') + this.read('queueNotifyOffset') * multiplier
  }

  notify(index: number): void {
    this.#bus.write('mmio', this.notifyAddress(index), 2, index)
  }

  /** Sets the window through configuration space (§4.1.4.9) and reads its data register. */
  readThroughConfig(offset: number, lengthBytes: number, bar = 0): number {
    const data = this.#aimConfigWindow(offset, lengthBytes, bar)
    return this.pci.read(data, lengthBytes === 1 || lengthBytes === 2 ? lengthBytes : 4)
  }

  writeThroughConfig(offset: number, lengthBytes: number, value: number, bar = 0): void {
    const data = this.#aimConfigWindow(offset, lengthBytes, bar)
    this.pci.write(data, lengthBytes === 1 || lengthBytes === 2 ? lengthBytes : 4, value)
  }

  #aimConfigWindow(offset: number, lengthBytes: number, bar: number): number {
    const { capability } = this.structure('pci')
    this.pci.write(capability + 4, 1, bar)
    this.pci.write(capability + 8, 4, offset)
    this.pci.write(capability + 12, 4, lengthBytes)
    return capability + 16
  }
}
