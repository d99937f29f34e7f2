import type { Bus } from '../bus/bus.ts'
import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import type { MsiRoute, MsiRouter } from '../interrupts/interrupts.ts'
import type { EventFd } from '../memory/event-fd.ts'
import type { ConfigSpace, PciIdentity } from '../pci/config-space.ts'
import { PciFunction } from '../pci/function.ts'
import { Msix } from '../pci/msix.ts'
import type { PciSegment } from '../pci/segment.ts'
import type { Component, DeviceDescription } from '../state/component.ts'
import { writeUint } from '../util/bytes.ts'
import {
  commonConfig,
  commonConfigBytes,
  commonConfigSpans,
  deviceStatus,
  keepBanked,
  noVector,
  powerOnState,
  refreshBytes,
  type TransportState,
} from './common-config.ts'
import type { VirtioDevice } from './device.ts'
import { PciConfigAccess } from './pci-config-access.ts'
import type { Vring } from './queue-backend.ts'

/** BAR 0, laid out as Cloud Hypervisor's. */
export const virtioBar = {
  sizeBytes: 0x8_0000,
  alignment: 0x80_0000,
  common: 0x0,
  isr: 0x2000,
  device: 0x4000,
  deviceBytes: 0x1000,
  notify: 0x6000,
  notifyMultiplier: 4,
  notifyBytes: 0x1000,
  msixTable: 0x8000,
  pba: 0x4_8000,
} as const

const vendorCapability = 0x09
/** virtio 1.2 §4.1.4. */
const capabilityTypes = { common: 1, notify: 2, isr: 3, device: 4, pci: 5 } as const
const vendorVirtio = 0x1af4
const firstModernDevice = 0x1040
const interruptCause = { queue: 1, config: 2 } as const

export interface Doorbells {
  attach(eventFd: EventFd, address: number): void
  detach(eventFd: EventFd, address: number): void
}

export interface PciTransportOptions {
  readonly device: VirtioDevice
  readonly segment: PciSegment
  readonly bus: Bus
  readonly router: MsiRouter
  readonly doorbells: Doorbells
  readonly barAddress: number
  createEventFd(): EventFd
}

/** The modern virtio PCI transport (virtio 1.2 §4.1): one device, one function, one BAR. */
export class VirtioPciTransport implements Component, RegisterWindow {
  readonly name: string
  readonly sizeBytes = virtioBar.sizeBytes
  readonly bytes = new Uint8Array(virtioBar.sizeBytes)
  readonly spans: readonly Span[]
  readonly slot: number
  readonly #device: VirtioDevice
  readonly #function: PciFunction
  readonly #msix: Msix
  readonly #vectors: readonly MsiRoute[]
  readonly #doorbells: Doorbells
  readonly #queueDoorbells: readonly EventFd[]
  /** Signalled where the driver wants no interrupt: nobody listens. */
  readonly #nobody: EventFd
  readonly #features: bigint
  #doorbellAddress: number | undefined
  #state: TransportState
  #isRunning = false
  #isPaused = false
  #reset: Promise<void> | undefined

  constructor(options: PciTransportOptions) {
    const { device, segment } = options
    this.name = `_virtio-pci-${device.name}`
    this.#device = device
    this.#features = device.features
    this.#doorbells = options.doorbells
    this.#state = powerOnState(device.queueSizes)
    this.#vectors = Array.from({ length: device.queueSizes.length + 1 }, () => options.router.allocate())
    this.#queueDoorbells = device.queueSizes.map(() => options.createEventFd())
    this.#nobody = options.createEventFd()
    this.slot = segment.freeSlot()
    const config = segment.configSpace(this.slot, identityOf(device.type))
    const access = addCapabilities(config, this, device)
    this.#msix = new Msix({
      config,
      routes: this.#vectors,
      bar: 0,
      barBytes: this.bytes,
      tableOffset: virtioBar.msixTable,
      pbaOffset: virtioBar.pba,
    })
    this.spans = this.#allSpans()
    this.#function = new TransportFunction(this.name, config, options.bus, this.#msix, access)
    this.#function.onBarMoved = (_, address) => this.#moveDoorbells(address)
    this.#function.addBar(0, this, options.barAddress)
    segment.plug(this.slot, this.#function, [access.dataRegister])
    device.bind({ configChanged: () => this.#configChanged(), needsReset: () => this.#needsReset() })
    refreshBytes(this.bytes, this.#state, this.#features)
    this.#showDeviceConfig()
  }

  describe(): readonly DeviceDescription[] {
    const pciAddress = `0000:00:${this.slot.toString(16).padStart(2, '0')}.0`
    const { name, backend } = this.#device
    return [
      { id: this.name, pciAddress },
      { id: name, parent: this.name, counters: backend.counters() },
    ]
  }

  read(offset: number, width: AccessWidth): number {
    if (offset >= virtioBar.pba) return this.#msix.readPending(offset - virtioBar.pba, width)
    if (offset === virtioBar.isr) {
      const cause = this.#state.interruptStatus
      this.#state.interruptStatus = 0
      return cause
    }
    return 0
  }

  write(offset: number, width: AccessWidth, value: number): void {
    if (offset < commonConfigBytes) {
      this.#writeCommon(offset, width, value)
    } else if (offset >= virtioBar.device && offset < virtioBar.notify) {
      this.#device.writeConfig(offset - virtioBar.device, width, value)
      this.#showDeviceConfig()
    } else if (offset >= virtioBar.notify && offset < virtioBar.msixTable) {
      this.#queueDoorbells[(offset - virtioBar.notify) / virtioBar.notifyMultiplier]?.signal()
    } else if (offset >= virtioBar.msixTable && offset < virtioBar.pba) {
      this.#msix.writeTable(offset - virtioBar.msixTable, width, value)
    }
  }

  async pause(): Promise<void> {
    this.#isPaused = true
    keepBanked(this.bytes, this.#state, this.#device.queueSizes)
    await this.#reset
    await this.#stop()
  }

  resume(): void {
    this.#isPaused = false
    if ((this.#state.status & deviceStatus.driverOk) !== 0) this.#start()
  }

  reset(): void {
    this.#function.reset()
    this.#msix.reset()
    this.#powerOn()
  }

  async close(): Promise<void> {
    await this.#stop()
    this.#device.backend.close()
    await this.#device.close()
    await this.#function.close()
    this.#moveDoorbells(undefined)
    this.#msix.close()
    for (const doorbell of this.#queueDoorbells) doorbell.close()
    this.#nobody.close()
  }

  #allSpans(): Span[] {
    const moved = (base: number, spans: readonly Span[]) => {
      return spans.map(span => ({ ...span, offset: base + span.offset }))
    }
    return [
      ...moved(virtioBar.common, commonConfigSpans),
      { offset: virtioBar.isr, lengthBytes: 1, read: 'trap', write: 'ignore' },
      ...moved(virtioBar.device, this.#device.configSpans),
      // Rung through event descriptors in the kernel; only firmware that goes through configuration space comes here.
      { offset: virtioBar.notify, lengthBytes: virtioBar.notifyBytes, read: 'bytes', write: 'trap' },
      ...this.#msix.tableSpans,
    ]
  }

  #writeCommon(offset: number, width: AccessWidth, value: number): void {
    const state = this.#state
    keepBanked(this.bytes, state, this.#device.queueSizes)
    const queue = state.queues[state.queueSelect]
    switch (offset) {
      case commonConfig.deviceFeatureSelect:
        state.deviceFeatureSelect = value
        break
      case commonConfig.driverFeatureSelect:
        state.driverFeatureSelect = value
        break
      case commonConfig.configVector:
        state.configVector = this.#validVector(value)
        break
      case commonConfig.deviceStatus:
        this.#setStatus(value & 0xff)
        break
      case commonConfig.queueSelect:
        state.queueSelect = value & 0xffff
        break
      case commonConfig.queueVector:
        if (queue !== undefined) queue.vector = this.#validVector(value & 0xffff)
        // The enable bit lies in the upper half of a 32-bit write.
        if (width === 4 && queue !== undefined && value >>> 16 === 1) queue.isEnabled = true
        break
      case commonConfig.queueEnable:
        // §4.1.4.3.2: a driver must not write 0.
        if (queue !== undefined && value === 1) queue.isEnabled = true
        break
    }
    refreshBytes(this.bytes, state, this.#features)
  }

  #validVector(vector: number): number {
    return vector < this.#vectors.length ? vector : noVector
  }

  #setStatus(value: number): void {
    const state = this.#state
    if (value === 0) {
      this.#beginReset()
      return
    }
    const added = value & ~state.status
    // §2.1.1: a driver does not clear bits but by a reset; NEEDS_RESET belongs to the device.
    state.status |= value & ~deviceStatus.needsReset
    if ((added & deviceStatus.featuresOk) !== 0 && !this.#acceptsFeatures()) state.status &= ~deviceStatus.featuresOk
    if ((added & deviceStatus.driverOk) !== 0 && (state.status & deviceStatus.featuresOk) !== 0) this.#start()
  }

  #acceptsFeatures(): boolean {
    const accepted = this.#state.driverFeatures
    const isVersion1 = (accepted & (1n << 32n)) !== 0n
    return isVersion1 && (accepted & ~this.#features) === 0n
  }

  #start(): void {
    if (this.#isRunning || this.#isPaused || (this.#state.status & deviceStatus.needsReset) !== 0) return
    const vrings = this.#state.queues.flatMap((queue, index): Vring[] => {
      const doorbell = this.#queueDoorbells[index]
      if (!queue.isEnabled || doorbell === undefined) return []
      return [
        {
          index,
          sizeEntries: queue.size,
          descriptorTable: queue.descriptors,
          availableRing: queue.driver,
          usedRing: queue.device,
          nextAvailable: queue.nextAvailable,
          nextUsed: queue.nextUsed,
          doorbell,
          interrupt: this.#vectors[queue.vector]?.eventFd ?? this.#nobody,
        },
      ]
    })
    this.#device.negotiated(this.#state.driverFeatures)
    try {
      this.#device.backend.start(vrings, this.#state.driverFeatures)
      this.#isRunning = true
    } catch (error) {
      // The rings that the driver named are not in its memory.
      if (!(error instanceof RangeError)) throw error
      this.#needsReset()
    }
  }

  async #stop(): Promise<void> {
    if (!this.#isRunning) return
    this.#isRunning = false
    for (const { index, nextAvailable, nextUsed } of await this.#device.backend.stop()) {
      const queue = this.#state.queues[index]
      if (queue !== undefined) Object.assign(queue, { nextAvailable, nextUsed })
    }
  }

  /** The driver reads the status until it is 0 (§4.1.4.3.2); until then the queues may still be in use. */
  #beginReset(): void {
    if (!this.#isRunning && this.#reset === undefined) {
      this.#powerOn()
      return
    }
    this.#reset ??= this.#stop().then(() => {
      this.#reset = undefined
      this.#powerOn()
    })
  }

  #powerOn(): void {
    for (const doorbell of this.#queueDoorbells) doorbell.drain()
    this.#state = powerOnState(this.#device.queueSizes)
    this.#device.reset()
    this.#showDeviceConfig()
    refreshBytes(this.bytes, this.#state, this.#features)
  }

  #configChanged(): void {
    this.#showDeviceConfig()
    this.#state.configGeneration = (this.#state.configGeneration + 1) & 0xff
    this.#interruptForConfig()
  }

  #needsReset(): void {
    this.#state.status |= deviceStatus.needsReset
    if ((this.#state.status & deviceStatus.driverOk) !== 0) this.#interruptForConfig()
  }

  #interruptForConfig(): void {
    writeUint(this.bytes, commonConfig.deviceStatus, 1, this.#state.status)
    writeUint(this.bytes, commonConfig.configGeneration, 1, this.#state.configGeneration)
    this.#state.interruptStatus |= interruptCause.config
    this.#vectors[this.#state.configVector]?.eventFd.signal()
  }

  #showDeviceConfig(): void {
    this.bytes.set(this.#device.config, virtioBar.device)
  }

  #moveDoorbells(barAddress: number | undefined): void {
    const place = (base: number, index: number) => base + virtioBar.notify + index * virtioBar.notifyMultiplier
    const old = this.#doorbellAddress
    this.#queueDoorbells.forEach((doorbell, index) => {
      if (old !== undefined) this.#doorbells.detach(doorbell, place(old, index))
      if (barAddress !== undefined) this.#doorbells.attach(doorbell, place(barAddress, index))
    })
    this.#doorbellAddress = barAddress
  }
}

class TransportFunction extends PciFunction {
  readonly #msix: Msix
  readonly #access: PciConfigAccess

  constructor(name: string, config: ConfigSpace, bus: Bus, msix: Msix, access: PciConfigAccess) {
    super(name, config, bus)
    this.#msix = msix
    this.#access = access
  }

  override readConfig(offset: number, width: AccessWidth): number {
    return this.#access.holds(offset) ? this.#access.read(offset, width) : super.readConfig(offset, width)
  }

  override writeConfig(offset: number, width: AccessWidth, value: number): void {
    super.writeConfig(offset, width, value)
    this.#msix.configWritten(offset, width)
    if (this.#access.holds(offset)) this.#access.write(offset, width, value)
  }
}

/** Network and storage have classes of their own, everything else is "other". */
function identityOf(type: number): PciIdentity {
  const classes: Readonly<Record<number, readonly [number, number]>> = { 1: [0x02, 0x00], 2: [0x01, 0x80] }
  const [baseClass, subclass] = classes[type] ?? [0xff, 0xff]
  const device = firstModernDevice + type
  return {
    vendor: vendorVirtio,
    device,
    baseClass,
    subclass,
    revision: 1,
    subsystemVendor: vendorVirtio,
    subsystem: device,
  }
}

/** The order of Cloud Hypervisor: common, ISR, device, notify, PCI access; MSI-X comes last. */
function addCapabilities(config: ConfigSpace, window: RegisterWindow, device: VirtioDevice): PciConfigAccess {
  const add = (type: number, offset: number, lengthBytes: number, extra = new Uint8Array(0)) => {
    const body = new Uint8Array(14 + extra.length)
    body[0] = 16 + extra.length
    body[1] = type
    writeUint(body, 6, 4, offset)
    writeUint(body, 10, 4, lengthBytes)
    body.set(extra, 14)
    return config.addCapability(vendorCapability, body)
  }
  add(capabilityTypes.common, virtioBar.common, commonConfigBytes)
  add(capabilityTypes.isr, virtioBar.isr, 1)
  add(capabilityTypes.device, virtioBar.device, Math.max(device.config.length, virtioBar.deviceBytes))
  const multiplier = new Uint8Array(4)
  writeUint(multiplier, 0, 4, virtioBar.notifyMultiplier)
  add(capabilityTypes.notify, virtioBar.notify, virtioBar.notifyBytes, multiplier)
  const access = add(capabilityTypes.pci, 0, 0, new Uint8Array(4))
  return new PciConfigAccess(config, access, window)
}
