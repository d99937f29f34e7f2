/** A queue vector or configuration vector that is none (virtio 1.2 §4.1.5.1.2). */
export const noVector = 0xffff

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
