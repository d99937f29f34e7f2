import type { Bus } from '../bus/bus.ts'
import type { AccessWidth, RegisterWindow, Span } from '../bus/registers.ts'
import type { MsiRoute, MsiRouter } from '../interrupts/interrupts.ts'
import type { EventFd } from '../memory/event-fd.ts'
import type { ConfigSpace } from '../pci/config-space.ts'
import { PciFunction } from '../pci/function.ts'
import { Msix } from '../pci/msix.ts'
import type { PciSegment } from '../pci/segment.ts'
import { saved } from '../state/carried.ts'
import type { Component, DeviceDescription } from '../state/component.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { CommonConfig, commonConfigBytes, commonConfigSpans } from './common-config.ts'
import type { VirtioDevice } from './device.ts'
import { PciConfigAccess } from './pci-config-access.ts'
import { addStructures, identityOf, virtioBar } from './pci-layout.ts'
import { pciTransportState, type SavedTransport } from './pci-transport-state.ts'
import type { Vring } from './queue-backend.ts'
import { type Doorbells, QueueDoorbells } from './queue-doorbells.ts'

/** The bit of the ISR status for a changed configuration (virtio 1.2 §4.1.4.5); queues have MSI-X and nothing else. */
const configInterrupt = 2

export interface PciTransportOptions {
  readonly device: VirtioDevice
  readonly segment: PciSegment
  readonly bus: Bus
  readonly router: MsiRouter
  readonly doorbells: Doorbells
  /** On PCI, and where the BAR is at power-on. */
  readonly slot: number
  readonly barAddress: number
  createEventFd(): EventFd
  /** The driver broke the device, or the host cannot serve it: it does nothing more until the driver resets it. */
  onNeedsReset(reason: string): void
}

/** The modern virtio PCI transport (virtio 1.2 §4.1): one device, one function, one BAR. */
export class VirtioPciTransport implements Component, RegisterWindow {
  readonly name: string
  readonly state = saved({ schema: pciTransportState, save: () => this.#save(), load: state => this.#load(state) })
  readonly sizeBytes = virtioBar.sizeBytes
  readonly bytes = new Uint8Array(virtioBar.sizeBytes)
  readonly spans: readonly Span[]
  readonly slot: number
  readonly #device: VirtioDevice
  readonly #onNeedsReset: (reason: string) => void
  readonly #segment: PciSegment
  readonly #function: PciFunction
  readonly #msix: Msix
  readonly #common: CommonConfig
  /** As many as there are queues, and one for configuration changes; the driver says which is whose. */
  readonly #vectors: readonly MsiRoute[]
  readonly #doorbells: QueueDoorbells
  /** Signalled where the driver wants no interrupt: nobody listens. */
  readonly #nobody: EventFd
  /** The back end was started and not stopped since. */
  #isRunning = false
  #isPaused = false
  #reset: Promise<void> | undefined
  #closed: Promise<void> | undefined

  /** Throws where the host has no more of what it takes; nothing of it is left then. */
  constructor(options: PciTransportOptions) {
    const { device, segment } = options
    using opened = new DisposableStack()
    this.name = `_virtio-pci-${device.name}`
    this.#device = device
    this.#onNeedsReset = reason => options.onNeedsReset(reason)
    const open = <R extends { close(): void }>(make: () => R): R => opened.adopt(make(), resource => resource.close())
    this.#vectors = Array.from({ length: device.queueSizes.length + 1 }, () => open(() => options.router.allocate()))
    this.#doorbells = new QueueDoorbells(
      device.queueSizes.map(() => open(() => options.createEventFd())),
      options.doorbells,
    )
    this.#nobody = open(() => options.createEventFd())
    this.#common = new CommonConfig({
      bytes: this.bytes.subarray(virtioBar.common, virtioBar.common + commonConfigBytes),
      queueSizes: device.queueSizes,
      features: device.features,
      vectors: this.#vectors.length,
      onReset: () => this.#beginReset(),
      onReady: () => this.#start(),
    })
    this.#segment = segment
    this.slot = options.slot
    const config = segment.configSpace(this.slot, identityOf(device.type))
    const access = new PciConfigAccess(config, addStructures(config, device.config.length), this)
    this.#msix = new Msix({
      ...{ config, routes: this.#vectors, bar: 0, barBytes: this.bytes },
      ...{ tableOffset: virtioBar.msixTable, pbaOffset: virtioBar.pba },
    })
    this.spans = this.#allSpans()
    this.#function = new TransportFunction(this.name, config, options.bus, this.#msix, access)
    this.#function.onBarMoved = (_, address) => this.#doorbells.move(address)
    this.#function.addBar(0, this, options.barAddress)
    segment.plug(this.slot, this.#function, [access.dataRegister])
    device.bind({
      configChanged: () => this.#configChanged(),
      configAdjusted: () => this.#showDeviceConfig(),
      needsReset: reason => this.#needsReset(reason),
    })
    this.#showDeviceConfig()
    opened.move()
  }

  /** `0000:00:04.0`. */
  get pciAddress(): string {
    return `0000:00:${this.slot.toString(16).padStart(2, '0')}.0`
  }

  describe(): readonly DeviceDescription[] {
    const { name, backend } = this.#device
    return [
      { id: this.name, pciAddress: this.pciAddress },
      { id: name, parent: this.name, counters: backend.counters() },
    ]
  }

  read(offset: number, width: AccessWidth): number {
    if (offset >= virtioBar.pba) return this.#msix.readPending(offset - virtioBar.pba, width)
    if (offset !== virtioBar.isr) return 0xffff_ffff
    const { state } = this.#common
    const cause = state.interruptStatus
    state.interruptStatus = 0
    return cause
  }

  write(offset: number, width: AccessWidth, value: number): void {
    if (offset < commonConfigBytes) {
      this.#common.write(offset, width, value)
    } else if (offset >= virtioBar.device && offset < virtioBar.notify) {
      this.#device.writeConfig(offset - virtioBar.device, width, value)
      this.#showDeviceConfig()
    } else if (offset >= virtioBar.notify && offset < virtioBar.msixTable) {
      this.#doorbells.ring(offset - virtioBar.notify)
    } else if (offset >= virtioBar.msixTable && offset < virtioBar.pba) {
      this.#msix.writeTable(offset - virtioBar.msixTable, width, value)
    }
  }

  async pause(): Promise<void> {
    this.#isPaused = true
    this.#common.keep()
    await this.#reset
    await this.#stop()
  }

  resume(): void {
    this.#isPaused = false
    if (this.#common.isDriverReady) this.#start()
  }

  reset(): void {
    this.#function.reset()
    this.#msix.reset()
    this.#powerOn()
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  /** It is out of the guest's sight at once, what it has under way is finished then. */
  async #close(): Promise<void> {
    this.#segment.unplug(this.slot)
    await this.#function.close()
    await this.#reset
    await this.#stop()
    this.#device.backend.close()
    this.#doorbells.close()
    this.#msix.close()
    this.#nobody.close()
  }

  #save(): SavedTransport {
    const { queues, ...registers } = this.#common.state
    return {
      deviceType: this.#device.type,
      registers: this.#function.config.save(),
      vectors: this.#msix.save(),
      ...registers,
      queues: queues.map(queue => ({ ...queue })),
    }
  }

  #load({ deviceType, registers, vectors, ...common }: SavedTransport): void {
    if (deviceType !== this.#device.type) {
      const reason = `it was saved with a device of type ${deviceType} and has one of type ${this.#device.type}`
      throw new TsvmmError('ERR_STATE_INVALID', { component: this.name, reason })
    }
    this.#common.load(this.name, common)
    this.#function.loadConfig(registers)
    this.#msix.load(this.name, vectors)
    this.#showDeviceConfig()
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

  #start(): void {
    if (this.#isRunning || this.#isPaused || this.#reset !== undefined || this.#common.needsReset) return
    const { driverFeatures } = this.#common.state
    // Also where it fails: a back end of two engines may have started one of them, which the reset stops.
    this.#isRunning = true
    try {
      this.#device.negotiated(driverFeatures)
      this.#device.backend.start(this.#vrings(), driverFeatures)
    } catch (error) {
      if (!isRefusal(error)) throw error
      this.#needsReset(reasonOf(error))
    }
  }

  #vrings(): Vring[] {
    return this.#common.state.queues.flatMap((queue, index): Vring[] => {
      const doorbell = this.#doorbells.eventFds[index]
      if (!queue.isEnabled || doorbell === undefined) return []
      const { size: sizeEntries, descriptors, driver, device, nextAvailable, nextUsed } = queue
      return [
        {
          ...{ index, sizeEntries, descriptorTable: descriptors, availableRing: driver, usedRing: device },
          ...{ nextAvailable, nextUsed, doorbell },
          interrupt: this.#vectors[queue.vector]?.eventFd ?? this.#nobody,
        },
      ]
    })
  }

  async #stop(): Promise<void> {
    if (!this.#isRunning) return
    this.#isRunning = false
    for (const { index, nextAvailable, nextUsed } of await this.#device.backend.stop()) {
      const queue = this.#common.state.queues[index]
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
    this.#doorbells.drain()
    this.#common.powerOn()
    this.#device.reset()
    this.#showDeviceConfig()
  }

  /** The vCPUs read on meanwhile: whoever has seen a part of what is new must not find the old generation again (§2.5.2). */
  #configChanged(): void {
    this.#common.nextGeneration()
    this.#showDeviceConfig()
    this.#common.nextGeneration()
    this.#interruptForConfig()
  }

  /** §2.1.2: a driver that is not ready is not interrupted. */
  #needsReset(reason: string): void {
    if (!this.#common.needsReset) this.#onNeedsReset(reason)
    this.#common.setNeedsReset()
    if (this.#common.isDriverReady) this.#interruptForConfig()
  }

  #interruptForConfig(): void {
    // Work of the device's that ends after it was closed.
    if (this.#closed !== undefined) return
    const { state } = this.#common
    state.interruptStatus |= configInterrupt
    this.#vectors[state.configVector]?.eventFd.signal()
  }

  #showDeviceConfig(): void {
    this.bytes.set(this.#device.config, virtioBar.device)
  }
}

/** The rings that the driver named are not in its memory, or the host has no thread or descriptor to serve them with. */
function isRefusal(error: unknown): boolean {
  return error instanceof RangeError || (error instanceof Error && 'code' in error)
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
    return this.#access.holds(offset) ? this.#access.read() : super.readConfig(offset, width)
  }

  override writeConfig(offset: number, width: AccessWidth, value: number): void {
    super.writeConfig(offset, width, value)
    this.#msix.configWritten(offset, width)
    if (this.#access.holds(offset)) this.#access.write(value)
  }
}
