import { pciHotplugRegisters } from '../acpi/pci-hotplug.ts'
import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { acpiPciHotplugState } from './acpi-pci-hotplug-state.ts'

const { arrived, leaving, eject, segment, sizeBytes } = pciHotplugRegisters

interface HotplugState {
  /** A bit a slot. The guest reads them once. */
  arrived: number
  leaving: number
  /** Its removal was asked for, and the guest has not ejected it yet. */
  unwanted: number
}

const powerOnState = (): HotplugState => ({ arrived: 0, leaving: 0, unwanted: 0 })

/**
 * Cloud Hypervisor's PCI hotplug controller, which the firmware tables tell the guest how to ask: what has come, what shall go,
 * and a register that ejects. There is one segment, so choosing one has no effect.
 */
export class AcpiPciHotplug implements Component, RegisterWindow {
  readonly name = '__acpi_pci_hotplug'
  readonly state = saved({
    schema: acpiPciHotplugState,
    save: () => ({ ...this.#state }),
    load: state => {
      this.#state = { ...state }
    },
  })
  readonly sizeBytes = sizeBytes
  readonly bytes = new Uint8Array(sizeBytes)
  readonly spans: readonly Span[] = [
    { offset: arrived, lengthBytes: 4, read: 'trap', write: 'ignore' },
    { offset: leaving, lengthBytes: 4, read: 'trap', write: 'ignore' },
    { offset: eject, lengthBytes: 4, read: 'bytes', write: 'trap' },
    { offset: segment, lengthBytes: 4, read: 'bytes', write: 'ignore' },
  ]
  /** The guest has no more use for what is in a slot. Called from a trap. */
  onEject: (slot: number) => void = () => {}
  #state = powerOnState()

  /** There is something in the slot. */
  arrive(slot: number): void {
    this.#state.arrived = withSlot(this.#state.arrived, slot)
  }

  /** What is in the slot shall go; asking twice tells the guest twice. */
  ask(slot: number): void {
    this.#state.leaving = withSlot(this.#state.leaving, slot)
    this.#state.unwanted = withSlot(this.#state.unwanted, slot)
  }

  /** What was in the slot is gone. */
  forget(slot: number): void {
    const { arrived: come, leaving: going, unwanted } = this.#state
    this.#state = {
      arrived: withoutSlot(come, slot),
      leaving: withoutSlot(going, slot),
      unwanted: withoutSlot(unwanted, slot),
    }
  }

  /** The slots whose removal was asked for. */
  get unwanted(): readonly number[] {
    return slotsOf(this.#state.unwanted)
  }

  read(offset: number, width: AccessWidth): number {
    if (width !== 4 || (offset !== arrived && offset !== leaving)) return 0
    const told = offset === arrived ? 'arrived' : 'leaving'
    const slots = this.#state[told]
    this.#state[told] = 0
    return slots
  }

  write(offset: number, width: AccessWidth, value: number): void {
    if (offset === eject && width === 4) for (const slot of slotsOf(value)) this.onEject(slot)
  }

  async pause(): Promise<void> {}
  resume(): void {}

  reset(): void {
    this.#state = powerOnState()
  }

  async close(): Promise<void> {}
}

function withSlot(slots: number, slot: number): number {
  return (slots | (1 << slot)) >>> 0
}

function withoutSlot(slots: number, slot: number): number {
  return (slots & ~(1 << slot)) >>> 0
}

function slotsOf(slots: number): number[] {
  return Array.from({ length: 32 }, (_, slot) => slot).filter(slot => (slots & (1 << slot)) !== 0)
}
