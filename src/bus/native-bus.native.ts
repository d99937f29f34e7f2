import type { NativeVm, NativeWindow } from '../native/addon.ts'
import { TsvmmError } from '../util/errors.ts'
import type { AddressSpace, Bus, MappedWindow } from './bus.ts'
import type { AccessWidth, RegisterWindow } from './registers.ts'

/** The bus of a machine: windows are answered by vCPU threads, and what they leave comes to the devices here. */
export class NativeBus implements Bus {
  readonly #vm: NativeVm
  /** By window id, which the addon hands back with every trap. */
  readonly #windows = new Map<number, Placed>()
  #nextId = 1

  constructor(vm: NativeVm) {
    this.#vm = vm
  }

  map(space: AddressSpace, address: number, window: RegisterWindow): MappedWindow {
    this.#refuseOverlap(space, address, window.sizeBytes, window.name)
    const id = this.#nextId++
    const native = this.#vm.mapWindow(space, address, window.bytes, window.spans, id)
    const placed = new Placed(space, address, window, native, {
      check: to => this.#refuseOverlap(space, to, window.sizeBytes, window.name, id),
      forget: () => this.#windows.delete(id),
    })
    this.#windows.set(id, placed)
    return placed
  }

  read(windowId: number, offset: number, width: AccessWidth): number {
    return this.#windows.get(windowId)?.window.read(offset, width) ?? 0xffff_ffff
  }

  write(windowId: number, offset: number, width: AccessWidth, value: number): void {
    this.#windows.get(windowId)?.window.write(offset, width, value)
  }

  #refuseOverlap(space: AddressSpace, address: number, sizeBytes: number, name: string, ownId?: number): void {
    for (const [id, other] of this.#windows) {
      if (id === ownId || other.space !== space) continue
      if (address < other.address + other.window.sizeBytes && other.address < address + sizeBytes) {
        const range = `${space} 0x${address.toString(16)}`
        throw new TsvmmError('ERR_BUS_OVERLAP', { name, range, other: other.window.name })
      }
    }
  }
}

class Placed implements MappedWindow {
  readonly space: AddressSpace
  address: number
  readonly window: RegisterWindow
  readonly #native: NativeWindow
  readonly #bus: { check(address: number): void; forget(): void }

  constructor(
    space: AddressSpace,
    address: number,
    window: RegisterWindow,
    native: NativeWindow,
    bus: { check(address: number): void; forget(): void },
  ) {
    this.space = space
    this.address = address
    this.window = window
    this.#native = native
    this.#bus = bus
  }

  move(address: number): void {
    this.#bus.check(address)
    this.#native.move(address)
    this.address = address
  }

  updateSpans(): void {
    this.#native.setSpans(this.window.spans)
  }

  clockTicks(): bigint {
    return this.#native.clockTicks()
  }

  setClockTicks(ticks: bigint): void {
    this.#native.setClockTicks(ticks)
  }

  unmap(): void {
    this.#bus.forget()
    this.#native.close()
  }
}
