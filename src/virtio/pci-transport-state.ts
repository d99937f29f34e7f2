import { writableRegisters } from '../pci/function-state.ts'
import { msixVectors } from '../pci/msix-state.ts'
import { defineState, type StateOf } from '../state/schema.ts'
import { flag, list, object, u8, u16, u32, u53, u64 } from '../state/shapes.ts'

const queue = object({
  size: u16,
  vector: u16,
  isEnabled: flag,
  descriptors: u53,
  driver: u53,
  device: u53,
  nextAvailable: u16,
  nextUsed: u16,
})

/** virtio 1.2 §4.1: what the driver has set up, and where each queue goes on. */
export const pciTransportState = defineState(
  'virtio-pci',
  object({
    /** Of the device: a disk is not loaded into a network card. */
    deviceType: u8,
    registers: writableRegisters,
    vectors: msixVectors,
    deviceFeatureSelect: u32,
    driverFeatureSelect: u32,
    driverFeatures: u64,
    configVector: u16,
    status: u8,
    configGeneration: u8,
    queueSelect: u16,
    interruptStatus: u8,
    queues: list(queue, 65_536),
  }),
)

export type SavedTransport = StateOf<typeof pciTransportState>
