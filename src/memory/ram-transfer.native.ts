import { addon } from '../native/addon.ts'
import type { MappedMemory } from './mapped.native.ts'
import type { RamReceiver, RamReceiverOptions, RamSender, RamSenderOptions } from './ram-transfer.ts'

/** The ranges are those of now; they stay mapped for it. */
export function createRamSender(memory: MappedMemory, options: RamSenderOptions): RamSender {
  return new (addon().MemorySender)({ memory: memory.native, ...options })
}

export function createRamReceiver(memory: MappedMemory, options: RamReceiverOptions): RamReceiver {
  return new (addon().MemoryReceiver)({ memory: memory.native, ...options })
}
