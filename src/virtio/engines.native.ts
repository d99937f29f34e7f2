import type { OpenDisk } from '../backends/disk.native.ts'
import type { NativeGuestMemory } from '../native/addon.ts'
import { addon } from '../native/addon.ts'
import type { NativeRateLimiter, RateLimits, TokenBucketLimits } from '../native/engines.ts'
import type { MailboxBackend, MailboxHandlers, QueueBackend } from './queue-backend.ts'

/** The native engines, as the devices take them. */
export interface BlockBackendOptions {
  readonly name: string
  readonly source: OpenDisk['source']
  readonly serial: string
  readonly limiter?: NativeRateLimiter | undefined
  onFailure(queueIndex: number, reason: string): void
  /** Something is wrong with the disk's image. */
  onFault(reason: string): void
}

export function createRateLimiter(limits: RateLimits<TokenBucketLimits>): NativeRateLimiter {
  return new (addon().RateLimiter)(limits)
}

export type ModeBackend = QueueBackend & { setMode(mode: number): void }

export type GrowingBackend = ModeBackend & { grow(sizeBytes: number): void }

export function createBlockBackend(memory: NativeGuestMemory, options: BlockBackendOptions): GrowingBackend {
  const { name, source, serial, limiter, onFailure, onFault } = options
  return new (addon().BlockEngine)({
    ...{ name, memory, onFailure, onFault },
    ...source,
    serial: Buffer.from(serial, 'utf8'),
    ...(limiter === undefined ? {} : { limiter }),
  })
}

export interface NetBackendOptions {
  readonly name: string
  readonly tapFds: readonly number[]
  readonly receiveLimiter?: NativeRateLimiter
  readonly transmitLimiter?: NativeRateLimiter
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
