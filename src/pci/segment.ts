import type { Bus, MappedWindow } from '../bus/bus.ts'
import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import { saved, stateless } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { readUint, writeUint } from '../util/bytes.ts'
import { configPortsState } from './config-ports-state.ts'
import { ConfigSpace, configSpaceBytes, type PciIdentity } from './config-space.ts'
import type { PciFunction } from './function.ts'

const slotsPerSegment = 32
const functionsPerSlot = 8
const busBytes = slotsPerSegment * functionsPerSlot * configSpaceBytes

interface Slot {
  readonly function: PciFunction
  /** Parts of the configuration space whose reads have side effects. */
  readonly trappedReads: readonly { readonly offset: number; readonly lengthBytes: number }[]
}

/**
 * A PCI segment with one bus. Configuration spaces lie in the bytes of the ECAM window, so that reading them costs no
 * round trip; what is not there reads as ones.
 */
export class PciSegment implements Component, RegisterWindow {
  readonly name: string
  /** The configuration spaces belong to their functions. */
  readonly state = stateless
  readonly sizeBytes = busBytes
  readonly bytes = new Uint8Array(busBytes)
  spans: readonly Span[] = []
  readonly #slots = new Map<number, Slot>()
  readonly #mapped: MappedWindow

  constructor(number: number, bus: Bus, ecamAddress: number) {
    this.name = `__pci${number}`
    this.#mapped = bus.map('mmio', ecamAddress, this)
  }

  /** The configuration space of a slot's first function; to be followed by `plug`. */
  configSpace(slot: number, identity: PciIdentity): ConfigSpace {
    const offset = slot * functionsPerSlot * configSpaceBytes
    return new ConfigSpace(this.bytes.subarray(offset, offset + configSpaceBytes), identity)
  }

  plug(slot: number, pciFunction: PciFunction, trappedReads: Slot['trappedReads'] = []): void {
    if (this.#slots.has(slot)) throw new RangeError(`slot ${slot} of ${this.name} is taken`)
    this.#slots.set(slot, { function: pciFunction, trappedReads })
    this.#showSlots()
  }

  /** From now on there is nothing. */
  unplug(slot: number): void {
    if (this.#slots.delete(slot)) this.#showSlots()
  }

  read(offset: number, width: AccessWidth): number {
    const { target, register } = this.#decode(offset)
    return target?.readConfig(register, width) ?? 0xffff_ffff
  }

  write(offset: number, width: AccessWidth, value: number): void {
    const { target, register } = this.#decode(offset)
    target?.writeConfig(register, width, value)
  }

  async pause(): Promise<void> {}
  resume(): void {}
  reset(): void {}

  async close(): Promise<void> {
    this.#mapped.unmap()
  }

  #showSlots(): void {
    this.spans = [...this.#slots].sort(([a], [b]) => a - b).flatMap(([index, each]) => spansOf(index, each))
    this.#mapped.updateSpans()
  }

  #decode(offset: number): { target: PciFunction | undefined; register: number } {
    const number = Math.floor(offset / configSpaceBytes)
    const slot = number % functionsPerSlot === 0 ? this.#slots.get(number / functionsPerSlot) : undefined
    return { target: slot?.function, register: offset % configSpaceBytes }
  }
}

/** A write that changes nothing of what the guest can change is no news to the function. */
function spansOf(index: number, { function: { config }, trappedReads }: Slot): Span[] {
  const base = index * functionsPerSlot * configSpaceBytes
  const spans: Span[] = []
  let next = 0
  const plain = (end: number) => {
    const mask = config.writable.subarray(next, end)
    if (end > next) spans.push({ offset: base + next, lengthBytes: end - next, read: 'bytes', write: 'change', mask })
  }
  for (const { offset, lengthBytes } of trappedReads) {
    plain(offset)
    spans.push({ offset: base + offset, lengthBytes, read: 'trap', write: 'trap' })
    next = offset + lengthBytes
  }
  plain(configSpaceBytes)
  return spans
}

/**
 * Configuration mechanism 1 (PCI Local Bus 3.0 §3.2.2.3.2): an address at port 0xCF8, its data at 0xCFC. Linux uses it
 * throughout its enumeration, some 700 times a boot, so the vCPU threads lead it to the ECAM by themselves.
 */
export class ConfigPorts implements Component, RegisterWindow {
  readonly name = '__pci_config_ports'
  readonly state = saved({
    schema: configPortsState,
    save: () => ({ address: Number(readUint(this.bytes, 0, 4)) }),
    load: ({ address }) => writeUint(this.bytes, 0, 4, address),
  })
  readonly sizeBytes = 8
  readonly bytes = new Uint8Array(8)
  readonly spans: readonly Span[]

  constructor(ecamAddress: number, buses: number) {
    const ecam = { address: ecamAddress, buses }
    this.spans = [
      { offset: 0, lengthBytes: 4, read: 'bytes', write: 'bytes' },
      { offset: 4, lengthBytes: 4, read: 'ecam', write: 'ecam', ecam },
    ]
  }

  read(): number {
    return 0xffff_ffff
  }

  write(): void {}
  async pause(): Promise<void> {}
  resume(): void {}

  reset(): void {
    this.bytes.fill(0)
  }

  async close(): Promise<void> {}
}
