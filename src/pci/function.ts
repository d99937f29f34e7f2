import type { Bus, MappedWindow } from '../bus/bus.ts'
import type { AccessWidth, RegisterWindow } from '../bus/registers.ts'
import { saved } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { TsvmmError } from '../util/errors.ts'
import { type ConfigSpace, pciHeader } from './config-space.ts'
import { pciFunctionState, type SavedRegisters } from './function-state.ts'

const command = { memory: 0x2, busMaster: 0x4, interruptDisable: 0x400 } as const
const memory64 = 0x4
const barRegisters = 6
/** The lowest four bits of a BAR say what kind it is. */
const smallestBar = 16

interface Bar {
  readonly index: number
  readonly sizeBytes: number
  readonly window: RegisterWindow
  readonly powerOnAddress: number
  mapped: MappedWindow | undefined
}

/** A PCI function with 64-bit memory BARs that follow what the guest programs. */
export class PciFunction implements Component {
  readonly name: string
  readonly state = saved({
    schema: pciFunctionState,
    save: () => ({ registers: this.config.save() }),
    load: ({ registers }) => this.loadConfig(registers),
  })
  readonly config: ConfigSpace
  readonly #bus: Bus
  readonly #bars: Bar[] = []
  /** Called with the new address of a BAR, undefined where it is not mapped. */
  onBarMoved: (index: number, address: number | undefined) => void = () => {}

  constructor(name: string, config: ConfigSpace, bus: Bus) {
    this.name = name
    this.config = config
    this.#bus = bus
    config.allow(pciHeader.command, 2, command.memory | command.busMaster | command.interruptDisable)
  }

  /** Adds a 64-bit BAR (it takes two registers) whose registers are `window`; a power of two in size. */
  addBar(index: number, window: RegisterWindow, address: number): void {
    const { sizeBytes } = window
    const isPower = sizeBytes >= smallestBar && (sizeBytes & (sizeBytes - 1)) === 0
    if (!isPower || index + 1 >= barRegisters) throw new RangeError(`BAR ${index} of ${this.name}`)
    const offset = pciHeader.bars + 4 * index
    this.config.allow(offset, 4, ~(sizeBytes - 1) >>> 0)
    this.config.allow(offset + 4, 4, 0xffff_ffff)
    this.#bars.push({ index, sizeBytes, window, powerOnAddress: address, mapped: undefined })
    this.#setBarAddress(index, address)
  }

  /** A guest's read of its configuration space; overridden parts ask the device. */
  readConfig(offset: number, width: AccessWidth): number {
    return this.config.get(offset, width)
  }

  writeConfig(offset: number, width: AccessWidth, value: number): void {
    this.config.write(offset, width, value)
    const touches = (first: number, last: number) => offset <= last && offset + width > first
    if (touches(pciHeader.command, pciHeader.command + 1) || touches(pciHeader.bars, pciHeader.bars + 0x17)) {
      this.#mapBars()
    }
  }

  /** Where a BAR is mapped now. */
  barAddress(index: number): number | undefined {
    return this.#bars.find(bar => bar.index === index)?.mapped?.address
  }

  /** Takes what the guest had written; its BARs are where they were. Throws ERR_STATE_INVALID. */
  loadConfig(registers: SavedRegisters): void {
    this.config.load(this.name, registers)
    this.#mapBars()
  }

  async pause(): Promise<void> {}
  resume(): void {}

  reset(): void {
    this.config.reset()
    for (const { index, powerOnAddress } of this.#bars) this.#setBarAddress(index, powerOnAddress)
    this.#mapBars()
  }

  async close(): Promise<void> {
    for (const bar of this.#bars) this.#place(bar, undefined)
  }

  #setBarAddress(index: number, address: number): void {
    const offset = pciHeader.bars + 4 * index
    this.config.set(offset, 4, ((address % 2 ** 32) | memory64) >>> 0)
    this.config.set(offset + 4, 4, Math.floor(address / 2 ** 32))
  }

  #mapBars(): void {
    const isDecoding = (this.config.get(pciHeader.command, 2) & command.memory) !== 0
    for (const bar of this.#bars) {
      const offset = pciHeader.bars + 4 * bar.index
      const low = this.config.get(offset, 4)
      const address = this.config.get(offset + 4, 4) * 2 ** 32 + (low - (low % 16))
      this.#place(bar, isDecoding ? address : undefined)
    }
  }

  #place(bar: Bar, address: number | undefined): void {
    if (bar.mapped?.address === address) return
    bar.mapped?.unmap()
    bar.mapped = undefined
    this.onBarMoved(bar.index, undefined)
    // Numbers are exact up to here, and no guest has addresses beyond 52 bits.
    if (address === undefined || address + bar.sizeBytes > 2 ** 52) return
    try {
      bar.mapped = this.#bus.map('mmio', address, bar.window)
    } catch (error) {
      // The guest has put it on top of something else: as on hardware, it gets no answer from it there.
      if (error instanceof TsvmmError && error.code === 'ERR_BUS_OVERLAP') return
      throw error
    }
    this.onBarMoved(bar.index, address)
  }
}
