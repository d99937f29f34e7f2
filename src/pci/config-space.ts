import type { AccessWidth } from '../bus/registers.ts'
import { readUint, writeUint } from '../util/bytes.ts'
import { TsvmmError } from '../util/errors.ts'
import type { SavedRegisters } from './function-state.ts'

export const configSpaceBytes = 4096
export const pciHeader = {
  vendor: 0x00,
  device: 0x02,
  command: 0x04,
  status: 0x06,
  revision: 0x08,
  subclass: 0x0a,
  baseClass: 0x0b,
  bars: 0x10,
  subsystemVendor: 0x2c,
  subsystem: 0x2e,
  capabilities: 0x34,
} as const
const firstCapability = 0x40
const hasCapabilities = 0x10

export interface PciIdentity {
  readonly vendor: number
  readonly device: number
  readonly baseClass: number
  readonly subclass: number
  readonly revision: number
  readonly subsystemVendor: number
  readonly subsystem: number
}

/** Of bytes, the last one excluded. */
interface Run {
  readonly first: number
  readonly end: number
}

/** A type 0 configuration space (PCI Local Bus 3.0 §6): bytes that anyone may read and a mask of what the guest may change. */
export class ConfigSpace {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly #mask = new Uint8Array(configSpaceBytes)
  /** Where the guest can change something, once somebody has asked. */
  #writable: readonly Run[] | undefined
  #nextCapability = firstCapability
  #lastPointer: number = pciHeader.capabilities

  /** `bytes` is where the configuration space lives in the ECAM window. */
  constructor(bytes: Uint8Array<ArrayBuffer>, identity: PciIdentity) {
    this.bytes = bytes
    bytes.fill(0)
    this.set(pciHeader.vendor, 2, identity.vendor)
    this.set(pciHeader.device, 2, identity.device)
    this.set(pciHeader.revision, 1, identity.revision)
    this.set(pciHeader.subclass, 1, identity.subclass)
    this.set(pciHeader.baseClass, 1, identity.baseClass)
    this.set(pciHeader.subsystemVendor, 2, identity.subsystemVendor)
    this.set(pciHeader.subsystem, 2, identity.subsystem)
    // Interrupt line: a note that firmware leaves for the operating system.
    this.allow(0x3c, 1, 0xff)
  }

  /** A set bit for each that the guest may change. */
  get writable(): Uint8Array {
    return this.#mask
  }

  get(offset: number, width: AccessWidth): number {
    return Number(readUint(this.bytes, offset, width))
  }

  set(offset: number, width: AccessWidth, value: number): void {
    writeUint(this.bytes, offset, width, value)
  }

  /** Lets the guest change the bits of `mask`. */
  allow(offset: number, width: AccessWidth, mask: number): void {
    writeUint(this.#mask, offset, width, mask)
    this.#writable = undefined
  }

  /** A write of the guest's: changes what the mask allows. */
  write(offset: number, width: AccessWidth, value: number): void {
    for (let index = 0; index < width && offset + index < configSpaceBytes; index += 1) {
      const mask = this.#mask[offset + index] ?? 0
      const old = this.bytes[offset + index] ?? 0
      this.bytes[offset + index] = (old & ~mask) | ((value >>> (8 * index)) & mask)
    }
  }

  /** To power-on state: what the guest may write is zero there. */
  reset(): void {
    for (const [index, mask] of this.#mask.entries()) {
      if (mask !== 0) this.bytes[index] = (this.bytes[index] ?? 0) & ~mask
    }
  }

  /** What the guest has written, or may have: every run of bytes with bits that it can change, of which only those. */
  save(): SavedRegisters {
    this.#writable ??= this.#findWritable()
    return this.#writable.map(({ first, end }) => {
      const bytes = this.bytes.slice(first, end).map((byte, index) => byte & (this.#mask[first + index] ?? 0))
      return { offset: first, bytes }
    })
  }

  #findWritable(): Run[] {
    const runs: Run[] = []
    for (let offset = 0; offset < configSpaceBytes; offset += 1) {
      const first = offset
      while (this.#mask[offset] !== undefined && this.#mask[offset] !== 0) offset += 1
      if (offset > first) runs.push({ first, end: offset })
    }
    return runs
  }

  /** Takes what `save` gave. Throws ERR_STATE_INVALID where the guest cannot have written it here. */
  load(component: string, registers: SavedRegisters): void {
    for (const { offset, bytes } of registers) {
      bytes.forEach((byte, index) => {
        const mask = this.#mask[offset + index] ?? 0
        if ((byte & ~mask) !== 0) {
          const reason = `the configuration register 0x${(offset + index).toString(16)} cannot be 0x${byte.toString(16)}`
          throw new TsvmmError('ERR_STATE_INVALID', { component, reason })
        }
        this.bytes[offset + index] = ((this.bytes[offset + index] ?? 0) & ~mask) | byte
      })
    }
  }

  /** Appends a capability, its id and body without the pointer; returns where it begins. */
  addCapability(id: number, body: Uint8Array): number {
    const offset = this.#nextCapability
    this.bytes[this.#lastPointer] = offset
    this.bytes[offset] = id
    this.bytes[offset + 1] = 0
    this.bytes.set(body, offset + 2)
    this.#lastPointer = offset + 1
    this.#nextCapability = Math.ceil((offset + 2 + body.length) / 4) * 4
    this.set(pciHeader.status, 2, this.get(pciHeader.status, 2) | hasCapabilities)
    return offset
  }
}
