import { addon } from '../native/addon.ts'
import type { NativeLateMemory } from '../native/migration.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import type { MappedMemory } from './mapped.native.ts'
import type {
  LateRam,
  LateRamOptions,
  RamReceiver,
  RamReceiverOptions,
  RamSender,
  RamSenderOptions,
} from './ram-transfer.ts'

/** The ranges are those of now; they stay mapped for it. */
export function createRamSender(memory: MappedMemory, options: RamSenderOptions): RamSender {
  return new (addon().MemorySender)({ memory: memory.native, ...options })
}

export function createRamReceiver(memory: MappedMemory, options: RamReceiverOptions): RamReceiver {
  return new (addon().MemoryReceiver)({ memory: memory.native, ...options })
}

/** `halt` ends the vCPUs where they are. Throws ERR_MEMORY where the host has not what it takes for this memory. */
export function createLateRam(memory: MappedMemory, options: LateRamOptions, halt: () => void): LateRam {
  let native: NativeLateMemory
  try {
    native = new (addon().LateMemory)({ memory: memory.native, ...options })
  } catch (cause) {
    const reason = `it cannot arrive when it is touched: ${reasonOf(cause)}`
    throw new TsvmmError('ERR_MEMORY', { reason }, { cause })
  }
  return {
    createReceiver: its => new (addon().MemoryReceiver)({ memory: memory.native, late: native, ...its }),
    askAt: (fd, stallMs) => native.askAt(fd, stallMs),
    missing: () => native.missing(),
    abandon: () => {
      halt()
      native.abandon()
    },
    close: () => native.close(),
  }
}
