import type { Span } from '../bus/registers.ts'
import { readUint, writeUint } from '../util/bytes.ts'

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
export const noVector = 0xffff

export const deviceStatus = {
  acknowledge: 1,
  driver: 2,
  driverOk: 4,
  featuresOk: 8,
  needsReset: 64,
  failed: 128,
} as const

/**
 * Who answers what: selectors, status, vectors and the enable bit trap; the rest is bytes, which a selector's write puts
 * away and brings back.
 */
export const commonConfigSpans: readonly Span[] = [
  { offset: commonConfig.deviceFeatureSelect, lengthBytes: 4, read: 'bytes', write: 'trap' },
  { offset: commonConfig.deviceFeature, lengthBytes: 4, read: 'bytes', write: 'ignore' },
  { offset: commonConfig.driverFeatureSelect, lengthBytes: 4, read: 'bytes', write: 'trap' },
  { offset: commonConfig.driverFeature, lengthBytes: 4, read: 'bytes', write: 'bytes' },
  { offset: commonConfig.configVector, lengthBytes: 2, read: 'bytes', write: 'trap' },
  { offset: commonConfig.queueCount, lengthBytes: 2, read: 'bytes', write: 'ignore' },
  { offset: commonConfig.deviceStatus, lengthBytes: 1, read: 'bytes', write: 'trap' },
  { offset: commonConfig.configGeneration, lengthBytes: 1, read: 'bytes', write: 'ignore' },
  { offset: commonConfig.queueSelect, lengthBytes: 2, read: 'bytes', write: 'trap' },
  { offset: commonConfig.queueSize, lengthBytes: 2, read: 'bytes', write: 'bytes' },
  { offset: commonConfig.queueVector, lengthBytes: 4, read: 'bytes', write: 'trap' },
  { offset: commonConfig.queueNotifyOffset, lengthBytes: 2, read: 'bytes', write: 'ignore' },
  { offset: commonConfig.queueDescriptors, lengthBytes: 24, read: 'bytes', write: 'bytes' },
]

export interface QueueState {
  size: number
  vector: number
  isEnabled: boolean
  descriptors: number
  driver: number
  device: number
  nextAvailable: number
  nextUsed: number
}

export interface TransportState {
  deviceFeatureSelect: number
  driverFeatureSelect: number
  driverFeatures: bigint
  configVector: number
  status: number
  configGeneration: number
  queueSelect: number
  interruptStatus: number
  queues: QueueState[]
}

export function powerOnState(queueSizes: readonly number[]): TransportState {
  return {
    deviceFeatureSelect: 0,
    driverFeatureSelect: 0,
    driverFeatures: 0n,
    configVector: noVector,
    status: 0,
    configGeneration: 0,
    queueSelect: 0,
    interruptStatus: 0,
    queues: queueSizes.map(size => ({
      ...{ size, vector: noVector, isEnabled: false },
      ...{ descriptors: 0, driver: 0, device: 0, nextAvailable: 0, nextUsed: 0 },
    })),
  }
}

/** Puts away what the driver wrote without a trap since the last selector. */
export function keepBanked(bytes: Uint8Array, state: TransportState, queueSizes: readonly number[]): void {
  const field = (offset: number, width: 2 | 4 | 8) => Number(readUint(bytes, offset, width))
  if (state.driverFeatureSelect < 2) {
    const shift = BigInt(32 * state.driverFeatureSelect)
    const half = BigInt(field(commonConfig.driverFeature, 4)) << shift
    state.driverFeatures = (state.driverFeatures & ~(0xffff_ffffn << shift)) | half
  }
  const queue = state.queues[state.queueSelect]
  const maximum = queueSizes[state.queueSelect]
  // §4.1.4.3.2: a driver must not touch a queue's layout while it is enabled.
  if (queue === undefined || maximum === undefined || queue.isEnabled) return
  const size = field(commonConfig.queueSize, 2)
  const isPower = size > 0 && (size & (size - 1)) === 0
  if (isPower && size <= maximum) queue.size = size
  queue.descriptors = field(commonConfig.queueDescriptors, 8)
  queue.driver = field(commonConfig.queueDriver, 8)
  queue.device = field(commonConfig.queueDevice, 8)
}

/** Shows the state, and of the banks those that are selected. */
export function refreshBytes(bytes: Uint8Array, state: TransportState, deviceFeatures: bigint): void {
  const bank = (features: bigint, select: number) =>
    select < 2 ? (features >> BigInt(32 * select)) & 0xffff_ffffn : 0n
  const queue = state.queues[state.queueSelect]
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
