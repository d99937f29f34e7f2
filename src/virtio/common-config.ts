import type { AccessWidth, Span } from '../bus/registers.ts'
import { readUint, writeUint } from '../util/bytes.ts'
import { TsvmmError } from '../util/errors.ts'
import { commonFeatures } from './device.ts'
import { noVector, powerOnState, type QueueState, type TransportState } from './transport-state.ts'

/** struct virtio_pci_common_cfg (virtio 1.2 §4.1.4.3). */
export const commonConfig = {
  deviceFeatureSelect: 0,
  deviceFeature: 4,
  driverFeatureSelect: 8,
  driverFeature: 12,
  configVector: 16,
  queueCount: 18,
  deviceStatus: 20,
  configGeneration: 21,
  queueSelect: 22,
  queueSize: 24,
  queueVector: 26,
  queueEnable: 28,
  queueNotifyOffset: 30,
  queueDescriptors: 32,
  queueDriver: 40,
  queueDevice: 48,
} as const
export const commonConfigBytes = 56

export const deviceStatus = {
  acknowledge: 1,
  driver: 2,
  driverOk: 4,
  featuresOk: 8,
  needsReset: 64,
  failed: 128,
} as const

/**
 * Who answers what: selectors, status, vectors and the enable bit are the device's; the rest is bytes, which a write of a
 * selector puts away and brings back.
 */
export const commonConfigSpans: readonly Span[] = [
  { offset: commonConfig.deviceFeatureSelect, lengthBytes: 4, read: 'bytes', write: 'change' },
  { offset: commonConfig.deviceFeature, lengthBytes: 4, read: 'bytes', write: 'ignore' },
  { offset: commonConfig.driverFeatureSelect, lengthBytes: 4, read: 'bytes', write: 'change' },
  { offset: commonConfig.driverFeature, lengthBytes: 4, read: 'bytes', write: 'bytes' },
  { offset: commonConfig.configVector, lengthBytes: 2, read: 'bytes', write: 'change' },
  { offset: commonConfig.queueCount, lengthBytes: 2, read: 'bytes', write: 'ignore' },
  { offset: commonConfig.deviceStatus, lengthBytes: 1, read: 'bytes', write: 'trap' },
  { offset: commonConfig.configGeneration, lengthBytes: 1, read: 'bytes', write: 'ignore' },
  { offset: commonConfig.queueSelect, lengthBytes: 2, read: 'bytes', write: 'trap' },
  { offset: commonConfig.queueSize, lengthBytes: 2, read: 'bytes', write: 'bytes' },
  { offset: commonConfig.queueVector, lengthBytes: 4, read: 'bytes', write: 'trap' },
  { offset: commonConfig.queueNotifyOffset, lengthBytes: 2, read: 'bytes', write: 'ignore' },
  { offset: commonConfig.queueDescriptors, lengthBytes: 24, read: 'bytes', write: 'bytes' },
]

export interface CommonConfigOptions {
  /** Where the structure lies in the BAR. */
  readonly bytes: Uint8Array
  readonly queueSizes: readonly number[]
  /** What the device offers. */
  readonly features: bigint
  readonly vectors: number
  /** The driver asks for a reset; answered by `powerOn`, now or later. */
  onReset(): void
  /** The driver is ready: features are settled and DRIVER_OK is set. */
  onReady(): void
}

/** The registers that a driver negotiates through, and the state behind their banks. */
export class CommonConfig {
  readonly #options: CommonConfigOptions
  #state: TransportState

  constructor(options: CommonConfigOptions) {
    this.#options = options
    this.#state = powerOnState(options.queueSizes)
    this.#refresh()
  }

  /** What the driver has written without a trap is in it after `keep`. */
  get state(): TransportState {
    return this.#state
  }

  get isDriverReady(): boolean {
    const both = deviceStatus.driverOk | deviceStatus.featuresOk
    return (this.#state.status & both) === both
  }

  get needsReset(): boolean {
    return (this.#state.status & deviceStatus.needsReset) !== 0
  }

  powerOn(): void {
    this.#state = powerOnState(this.#options.queueSizes)
    this.#refresh()
  }

  /**
   * Takes the state of another machine's. Throws ERR_STATE_INVALID where its driver has accepted what is not offered here or
   * set up what is not there.
   */
  load(component: string, state: TransportState): void {
    const reason = this.#misfitOf(state)
    if (reason !== undefined) throw new TsvmmError('ERR_STATE_INVALID', { component, reason })
    this.#state = { ...state, queues: state.queues.map(queue => ({ ...queue })) }
    this.#refresh()
  }

  setNeedsReset(): void {
    this.#state.status |= deviceStatus.needsReset
    writeUint(this.#options.bytes, commonConfig.deviceStatus, 1, this.#state.status)
  }

  /** What the driver reads of the device's own configuration from now on is newer than before (§4.1.4.3.1). */
  nextGeneration(): void {
    this.#state.configGeneration = (this.#state.configGeneration + 1) & 0xff
    writeUint(this.#options.bytes, commonConfig.configGeneration, 1, this.#state.configGeneration)
  }

  /** A trapped write. */
  write(offset: number, width: AccessWidth, value: number): void {
    this.keep()
    this.#writeField(offset, width, value)
    this.#refresh()
  }

  /** Puts away what the driver wrote without a trap since the last selector. */
  keep(): void {
    const state = this.#state
    // §3.1.1: features are settled once the device has accepted them.
    if (state.driverFeatureSelect < 2 && (state.status & deviceStatus.featuresOk) === 0) {
      const shift = BigInt(32 * state.driverFeatureSelect)
      const half = BigInt(this.#field(commonConfig.driverFeature, 4)) << shift
      state.driverFeatures = (state.driverFeatures & ~(0xffff_ffffn << shift)) | half
    }
    const queue = this.#selectedQueue()
    const maximum = this.#options.queueSizes[state.queueSelect]
    // §4.1.4.3.2: a driver must not touch a queue's layout while it is enabled.
    if (queue === undefined || maximum === undefined || queue.isEnabled) return
    const size = this.#field(commonConfig.queueSize, 2)
    const isPower = size > 0 && (size & (size - 1)) === 0
    if (isPower && size <= maximum) queue.size = size
    queue.descriptors = this.#address(commonConfig.queueDescriptors)
    queue.driver = this.#address(commonConfig.queueDriver)
    queue.device = this.#address(commonConfig.queueDevice)
  }

  #misfitOf({ driverFeatures, status, queues, configVector }: TransportState): string | undefined {
    const { queueSizes, features, vectors } = this.#options
    const missing = driverFeatures & ~features
    const isSettled = (status & deviceStatus.featuresOk) !== 0
    if (isSettled && missing !== 0n) return `its driver uses features 0x${missing.toString(16)}, which it has not here`
    if (queues.length !== queueSizes.length) {
      return `it was saved with ${queues.length} queues and has ${queueSizes.length}`
    }
    const isVector = (vector: number) => vector < vectors || vector === noVector
    if (!isVector(configVector)) return `it has no interrupt vector ${configVector}`
    for (const [index, { size, vector }] of queues.entries()) {
      const most = queueSizes[index] ?? 0
      const isPower = size > 0 && (size & (size - 1)) === 0
      if (!isPower || size > most) return `queue ${index} was saved with ${size} entries and has ${most}`
      if (!isVector(vector)) return `it has no interrupt vector ${vector}`
    }
    return undefined
  }

  #writeField(offset: number, width: AccessWidth, value: number): void {
    const state = this.#state
    const queue = this.#selectedQueue()
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
  }

  #setStatus(value: number): void {
    if (value === 0) {
      this.#options.onReset()
      return
    }
    const state = this.#state
    const wasReady = this.isDriverReady
    const added = value & ~state.status
    // §2.1.1: a driver does not clear bits but by a reset; NEEDS_RESET belongs to the device.
    state.status |= value & ~deviceStatus.needsReset
    if ((added & deviceStatus.featuresOk) !== 0 && !this.#acceptsFeatures()) state.status &= ~deviceStatus.featuresOk
    if (!wasReady && this.isDriverReady) this.#options.onReady()
  }

  #acceptsFeatures(): boolean {
    const accepted = this.#state.driverFeatures
    const isVersion1 = (accepted & commonFeatures.version1) !== 0n
    return isVersion1 && (accepted & ~this.#options.features) === 0n
  }

  #validVector(vector: number): number {
    return vector < this.#options.vectors ? vector : noVector
  }

  #selectedQueue(): QueueState | undefined {
    return this.#state.queues[this.#state.queueSelect]
  }

  /** One that no number can hold stays one that is nowhere. */
  #address(offset: number): number {
    return Math.min(this.#field(offset, 8), Number.MAX_SAFE_INTEGER)
  }

  #field(offset: number, width: 2 | 4 | 8): number {
    return Number(readUint(this.#options.bytes, offset, width))
  }

  /** Shows the state, and of the banks those that are selected. */
  #refresh(): void {
    const { bytes, features: deviceFeatures } = this.#options
    const state = this.#state
    const bank = (features: bigint, select: number) =>
      select < 2 ? (features >> BigInt(32 * select)) & 0xffff_ffffn : 0n
    const queue = this.#selectedQueue()
    writeUint(bytes, commonConfig.deviceFeatureSelect, 4, state.deviceFeatureSelect)
    writeUint(bytes, commonConfig.deviceFeature, 4, bank(deviceFeatures, state.deviceFeatureSelect))
    writeUint(bytes, commonConfig.driverFeatureSelect, 4, state.driverFeatureSelect)
    writeUint(bytes, commonConfig.driverFeature, 4, bank(state.driverFeatures, state.driverFeatureSelect))
    writeUint(bytes, commonConfig.configVector, 2, state.configVector)
    writeUint(bytes, commonConfig.queueCount, 2, state.queues.length)
    writeUint(bytes, commonConfig.deviceStatus, 1, state.status)
    writeUint(bytes, commonConfig.configGeneration, 1, state.configGeneration)
    writeUint(bytes, commonConfig.queueSelect, 2, state.queueSelect)
    writeUint(bytes, commonConfig.queueSize, 2, queue?.size ?? 0)
    writeUint(bytes, commonConfig.queueVector, 2, queue?.vector ?? noVector)
    writeUint(bytes, commonConfig.queueEnable, 2, queue?.isEnabled === true ? 1 : 0)
    writeUint(bytes, commonConfig.queueNotifyOffset, 2, queue === undefined ? 0 : state.queueSelect)
    writeUint(bytes, commonConfig.queueDescriptors, 8, queue?.descriptors ?? 0)
    writeUint(bytes, commonConfig.queueDriver, 8, queue?.driver ?? 0)
    writeUint(bytes, commonConfig.queueDevice, 8, queue?.device ?? 0)
  }
}
