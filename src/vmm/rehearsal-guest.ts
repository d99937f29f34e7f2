/** The guest of a rehearsal: what a kernel writes on its way to its init, as far as JavaScript hears of it. */

/** As of the addon's TrapHandlers. */
export interface RehearsalHandlers {
  read(windowId: number, offset: number, width: 1 | 2 | 4): number
  write(windowId: number, offset: number, width: 1 | 2 | 4, value: number): void
}

type Access = readonly [offset: number, width: 1 | 2 | 4, value: number]

/** Windows by where they are; the platform's addresses are Cloud Hypervisor's. */
const places = { serial: 'pio 0x3f8', ioapic: 'mmio 0xfec00000', ecam: 'mmio 0xe8000000' } as const
const barBytes = 0x8_0000
const slotBytes = 0x8000
const slots = [1, 2, 3]

/** 16550: divisor, line control, FIFOs, modem control, interrupts, a character. */
const serial: readonly Access[] = [
  ...([
    [3, 1, 0x93],
    [0, 1, 1],
    [1, 1, 0],
    [3, 1, 0x13],
    [2, 1, 0x81],
    [4, 1, 0xb],
  ] as const),
  ...([
    [1, 1, 7],
    [0, 1, 0x20],
    [1, 1, 0],
  ] as const),
]
/** The redirection entry of pin 4 (82093AA §3.2.4). */
const ioapic: readonly Access[] = [
  [0, 4, 0x19],
  [0x10, 4, 0],
  [0, 4, 0x18],
  [0x10, 4, 0x21],
]
/** Sizing of BAR 0, decoding and bus mastering, MSI-X enabled and masked. */
const pci: readonly Access[] = [
  [0x10, 4, 0xffff_ffff],
  [0x10, 4, 4],
  [4, 2, 2],
  [4, 2, 6],
  [0x9a, 2, 0xc001],
  [0x9a, 2, 0x8001],
]
/** virtio 1.2 §3.1.1: status, features, MSI-X vectors, a queue, DRIVER_OK. */
const virtio: readonly Access[] = [
  ...([
    [0x14, 1, 0],
    [0x14, 1, 1],
    [0x14, 1, 3],
    [8, 4, 1],
    [0xc, 4, 1],
    [0x14, 1, 0xb],
  ] as const),
  ...([
    [0x8000, 4, 0xfee0_0000],
    [0x8008, 4, 0x23],
    [0x800c, 4, 0],
    [0x10, 2, 0],
  ] as const),
  ...([
    [0x16, 2, 0],
    [0x20, 4, 0x1000],
    [0x28, 4, 0x2000],
    [0x30, 4, 0x3000],
    [0x1a, 2, 1],
    [0x1c, 2, 1],
  ] as const),
  [0x14, 1, 0xf],
]

/** Windows and handlers, as they become known to it. */
export class RehearsalGuest {
  readonly #windows = new Map<string, number>()
  readonly #bars: number[] = []
  #handlers: RehearsalHandlers | undefined

  hears(handlers: RehearsalHandlers): void {
    this.#handlers = handlers
  }

  sees(space: string, address: number, lengthBytes: number, windowId: number): void {
    this.#windows.set(`${space} 0x${address.toString(16)}`, windowId)
    if (lengthBytes === barBytes) this.#bars.push(windowId)
  }

  boots(): void {
    this.#accesses(this.#windows.get(places.serial), serial)
    this.#accesses(this.#windows.get(places.ioapic), ioapic)
    const ecam = this.#windows.get(places.ecam)
    for (const slot of slots)
      this.#accesses(
        ecam,
        pci.map(([offset, ...rest]) => [slot * slotBytes + offset, ...rest]),
      )
    for (const bar of this.#bars) this.#accesses(bar, virtio)
  }

  #accesses(windowId: number | undefined, accesses: readonly Access[]): void {
    if (windowId === undefined) return
    for (const [offset, width, value] of accesses) {
      this.#handlers?.write(windowId, offset, width, value)
      this.#handlers?.read(windowId, offset, width)
    }
  }
}
