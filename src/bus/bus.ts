import type { RegisterWindow } from './registers.ts'

export type AddressSpace = 'pio' | 'mmio'

/** A window in its place. */
export interface MappedWindow {
  readonly space: AddressSpace
  readonly address: number
  /** Moves the window, as a guest that programs a BAR does. Throws ERR_BUS_OVERLAP and stays where it was. */
  move(address: number): void
  /** Tells the vCPU threads of changed `spans` of the window. */
  updateSpans(): void
  /** Of the window's clock spans, as if each were 64 bits wide. */
  clockTicks(): bigint
  /** They go on from there. */
  setClockTicks(ticks: bigint): void
  /** Idempotent. */
  unmap(): void
}

/** Addresses to windows. Implemented over the addon for machines, in plain TypeScript for tests of devices. */
export interface Bus {
  /** Throws ERR_BUS_OVERLAP, naming both windows, where any byte is taken. */
  map(space: AddressSpace, address: number, window: RegisterWindow): MappedWindow
}
