import type { AccessWidth } from '../../bus/registers.ts'
import type { SoftwareBus } from '../../bus/software-bus.ts'
import { configSpaceBytes, pciHeader } from '../config-space.ts'

/** What a guest can do to a bus. */
export type GuestBus = Pick<SoftwareBus, 'read' | 'write'>

export interface GuestCapability {
  readonly id: number
  readonly offset: number
}

const functionsPerSlot = 8
const capabilityPointers = 48

/** The first function of a slot as software in the guest sees it: through the ECAM window (PCI Express 6.0 §7.2.2). */
export class GuestFunction {
  readonly #bus: GuestBus
  readonly #base: number

  constructor(bus: GuestBus, ecamAddress: number, slot: number) {
    this.#bus = bus
    this.#base = ecamAddress + slot * functionsPerSlot * configSpaceBytes
  }

  read(offset: number, width: AccessWidth): number {
    return this.#bus.read('mmio', this.#base + offset, width)
  }

  write(offset: number, width: AccessWidth, value: number): void {
    this.#bus.write('mmio', this.#base + offset, width, value)
  }

  /** Walks the list (PCI Local Bus 3.0 §6.7). Throws where it does not end. */
  capabilities(): GuestCapability[] {
    const found: GuestCapability[] = []
    for (let offset = this.read(pciHeader.capabilities, 1); offset !== 0; offset = this.read(offset + 1, 1)) {
      if (found.length === capabilityPointers) throw new Error('the capability list has a loop')
      found.push({ id: this.read(offset, 1), offset })
    }
    return found
  }

  /** Memory decoding and bus mastering on or off. */
  enable(isOn: boolean): void {
    this.write(pciHeader.command, 2, isOn ? 0x6 : 0)
  }

  barAddress(index: number): number {
    const low = this.read(pciHeader.bars + 4 * index, 4)
    return this.read(pciHeader.bars + 4 * index + 4, 4) * 2 ** 32 + low - (low % 16)
  }

  moveBar(index: number, address: number): void {
    this.write(pciHeader.bars + 4 * index, 4, address % 2 ** 32)
    this.write(pciHeader.bars + 4 * index + 4, 4, Math.floor(address / 2 ** 32))
  }

  /** The size of a 64-bit BAR, by the protocol of PCI Local Bus 3.0 §6.2.5.1: what of all ones stays. */
  sizeBar(index: number): bigint {
    const address = this.barAddress(index)
    this.write(pciHeader.bars + 4 * index, 4, 0xffff_ffff)
    this.write(pciHeader.bars + 4 * index + 4, 4, 0xffff_ffff)
    const low = this.read(pciHeader.bars + 4 * index, 4)
    const high = this.read(pciHeader.bars + 4 * index + 4, 4)
    this.moveBar(index, address)
    const mask = (BigInt(high) << 32n) | BigInt(low - (low % 16))
    return BigInt.asUintN(64, ~mask + 1n)
  }
}
