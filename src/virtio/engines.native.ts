import type { NativeGuestMemory } from '../native/addon.ts'
import { addon } from '../native/addon.ts'
import type { MailboxBackend, MailboxHandlers, QueueBackend } from './queue-backend.ts'

/** The native engines, as the devices take them. */
export interface BlockBackendOptions {
  readonly name: string
  readonly fd: number
  readonly sizeBytes: number
  readonly isReadOnly: boolean
  readonly alignmentBytes: number
  readonly serial: string
  readonly isSparse: boolean
  onFailure(queueIndex: number, reason: string): void
}

export type ModeBackend = QueueBackend & { setMode(mode: number): void }

export function createBlockBackend(memory: NativeGuestMemory, options: BlockBackendOptions): ModeBackend {
  const { name, fd, sizeBytes, isReadOnly, alignmentBytes, serial, isSparse, onFailure } = options
  return new (addon().BlockEngine)({
    ...{ name, memory, fd, sizeBytes, alignmentBytes, onFailure },
    readOnly: isReadOnly,
    serial: Buffer.from(serial, 'utf8'),
    sparse: isSparse,
  })
}

export interface NetBackendOptions {
  readonly name: string
  readonly tapFds: readonly number[]
  onFailure(queueIndex: number, reason: string): void
}

export function createNetBackend(memory: NativeGuestMemory, options: NetBackendOptions): ModeBackend {
  return new (addon().NetEngine)({ memory, ...options })
}

/** Drivers of low-rate devices send commands and short buffers: more in one chain is a mistake or an attack. */
const maximumReadableBytes = 1024 * 1024

export function createMailboxBackend(
  memory: NativeGuestMemory,
  name: string,
  handlers: MailboxHandlers,
): MailboxBackend {
  return new (addon().MailboxEngine)({
    ...{ name, memory, maximumReadableBytes },
    onChain: (queue, head, readable, writableBytes) => handlers.onChain(queue, head, readable, writableBytes),
    onFailure: (queue, reason) => handlers.onFailure(queue, reason),
  })
}
