import type { AccessWidth, Span } from '../bus/registers.ts'
import type { MsiRoute } from '../interrupts/interrupts.ts'
import { readUint, writeUint } from '../util/bytes.ts'
import { TsvmmError } from '../util/errors.ts'
import type { ConfigSpace } from './config-space.ts'
import type { SavedVectors } from './msix-state.ts'

const capabilityId = 0x11
const entryBytes = 16
const vectorControl = 12
const entryMasked = 1
const enableBit = 0x8000
const functionMask = 0x4000

export interface MsixOptions {
  readonly config: ConfigSpace
  readonly routes: readonly MsiRoute[]
  /** The BAR that holds table and pending bits, its bytes, and where they are in it. */
  readonly bar: number
  readonly barBytes: Uint8Array
  readonly tableOffset: number
  readonly pbaOffset: number
}

/** MSI-X (PCI Local Bus 3.0 §6.8.2): a table of messages in a BAR, each with a route of its own. */
export class Msix {
  readonly tableSpans: readonly Span[]
  readonly #options: MsixOptions
  readonly #capability: number

  constructor(options: MsixOptions) {
    this.#options = options
    const { config, routes, bar, tableOffset, pbaOffset } = options
    const body = new Uint8Array(10)
    writeUint(body, 0, 2, routes.length - 1)
    writeUint(body, 2, 4, tableOffset | bar)
    writeUint(body, 6, 4, pbaOffset | bar)
    this.#capability = config.addCapability(capabilityId, body)
    config.allow(this.#capability + 2, 2, enableBit | functionMask)
    const pbaBytes = Math.ceil(routes.length / 64) * 8
    this.tableSpans = [
      { offset: tableOffset, lengthBytes: routes.length * entryBytes, read: 'bytes', write: 'change' },
      { offset: pbaOffset, lengthBytes: pbaBytes, read: 'trap', write: 'ignore' },
    ]
    this.reset()
  }

  /** To be called after every write to the configuration space. */
  configWritten(offset: number, width: AccessWidth): void {
    if (offset <= this.#capability + 3 && offset + width > this.#capability + 2) this.#applyAll()
  }

  /** A write to the table; `offset` counts from its start. */
  writeTable(offset: number, width: AccessWidth, value: number): void {
    const { barBytes, tableOffset } = this.#options
    writeUint(barBytes, tableOffset + offset, width, value)
    const [first, last] = [Math.floor(offset / entryBytes), Math.floor((offset + width - 1) / entryBytes)]
    this.#apply(first)
    if (last !== first) this.#apply(last)
  }

  /** Pending bits; `offset` counts from their start. */
  readPending(offset: number, width: AccessWidth): number {
    let value = 0
    for (let bit = 0; bit < width * 8; bit += 1) {
      if (this.#options.routes[offset * 8 + bit]?.isPending() === true) value |= 1 << bit
    }
    return value >>> 0
  }

  save(): SavedVectors {
    return this.#options.routes.map((route, index) => ({
      addressLow: this.#field(index, 0),
      addressHigh: this.#field(index, 4),
      data: this.#field(index, 8),
      control: this.#field(index, vectorControl),
      isPending: route.isPending(),
    }))
  }

  /** Takes what `save` gave, the configuration space being loaded. Throws ERR_STATE_INVALID. */
  load(component: string, vectors: SavedVectors): void {
    const { routes, barBytes, tableOffset } = this.#options
    if (vectors.length !== routes.length) {
      const reason = `it was saved with ${vectors.length} interrupt vectors and has ${routes.length}`
      throw new TsvmmError('ERR_STATE_INVALID', { component, reason })
    }
    vectors.forEach(({ addressLow, addressHigh, data, control, isPending }, index) => {
      const entry = tableOffset + index * entryBytes
      for (const [place, value] of [addressLow, addressHigh, data, control].entries()) {
        writeUint(barBytes, entry + 4 * place, 4, value)
      }
      this.#apply(index)
      routes[index]?.eventFd.drain()
      if (isPending) routes[index]?.eventFd.signal()
    })
  }

  reset(): void {
    const { config, routes, barBytes, tableOffset } = this.#options
    config.set(this.#capability + 2, 2, routes.length - 1)
    barBytes.fill(0, tableOffset, tableOffset + routes.length * entryBytes)
    routes.forEach((route, index) => {
      barBytes[tableOffset + index * entryBytes + vectorControl] = entryMasked
      route.mask()
      route.eventFd.drain()
    })
  }

  close(): void {
    for (const route of this.#options.routes) route.close()
  }

  #applyAll(): void {
    this.#options.routes.forEach((_, index) => {
      this.#apply(index)
    })
  }

  #apply(index: number): void {
    const { config, routes } = this.#options
    const control = config.get(this.#capability + 2, 2)
    const isMasked = (this.#field(index, vectorControl) & entryMasked) !== 0
    const isOn = (control & enableBit) !== 0 && (control & functionMask) === 0 && !isMasked
    if (!isOn) {
      routes[index]?.mask()
      return
    }
    routes[index]?.setMessage(this.#field(index, 0), this.#field(index, 4), this.#field(index, 8))
    routes[index]?.unmask()
  }

  #field(index: number, offset: number): number {
    const { barBytes, tableOffset } = this.#options
    return Number(readUint(barBytes, tableOffset + index * entryBytes + offset, 4))
  }
}
