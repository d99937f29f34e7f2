import { availableParallelism } from 'node:os'
import { TsvmmError } from '../util/errors.ts'
import { formatMigrationAddress, type MigrationAddress } from './addresses.ts'
import { migrationError } from './error.ts'

/** How a machine is moved, for its source. */
export interface SendOptions {
  /** The longest that the machine may stand still; 300. */
  readonly downtimeMs?: number
  /** After that it is moved whatever the pause, or stays; an hour. */
  readonly timeoutMs?: number
  /** `cancel` where absent. */
  readonly atTimeout?: 'cancel' | 'cut-over'
  /**
   * Whether it may go on at the other side before all of its memory is there: `if-needed` where it writes faster than that can be
   * copied, `at-once` with none of it; `never` where absent. Both sides are needed then until the rest has gone.
   */
  readonly postcopy?: 'never' | 'if-needed' | 'at-once'
  /**
   * The other side is a process of this host and takes over memory, disks and cards as they are, over a Unix socket; nothing is
   * copied. Only for memory that can be shared.
   */
  readonly isLocal?: boolean
  /** For memory, 1 to 128; as many as there are processors, at most 4. */
  readonly connections?: number
  /** All connections together; 0, where absent: as fast as can be. */
  readonly bytesPerSecond?: number
  /** The most that vCPUs may be slowed down by so that it comes to an end, in percent; 99. 0: not at all. */
  readonly mostThrottlePercent?: number
  /** How much of what was sent is kept to send changes only; an eighth of the RAM, at most 256 MiB. */
  readonly deltaBytes?: number
  /** A peer from which nothing came for so long is gone; 10 s. */
  readonly peerTimeoutMs?: number
  /** How long the source tries to meet a destination again that may have the machine; 5 min. */
  readonly resolveMs?: number
  /** Connections are under TLS, with what is there: ca-cert.pem, client-cert.pem, client-key.pem. */
  readonly tlsDir?: string
  /** Gives it up, as long as that can be. */
  readonly signal?: AbortSignal
}

export type SendSettings = Required<Omit<SendOptions, 'signal' | 'tlsDir'>> & Pick<SendOptions, 'tlsDir'>

const mostDefaultConnections = 4
const mostDefaultDeltaBytes = 256 * 1024 * 1024

/** Throws ERR_MIGRATION_ADDRESS and ERR_MIGRATION for what does not go together. */
export function checkSendOptions(
  address: MigrationAddress,
  { isLocal = false, postcopy = 'never', tlsDir }: SendOptions,
): void {
  if (!isLocal) return
  if (address.kind !== 'unix') {
    const reason = 'is not unix:/PATH, and only over a Unix socket can a machine be handed over (local)'
    throw new TsvmmError('ERR_MIGRATION_ADDRESS', { url: formatMigrationAddress(address), reason })
  }
  if (postcopy !== 'never') throw migrationError('local: no memory is copied, before or after (memory_mode)')
  if (tlsDir !== undefined) throw migrationError('local: descriptors do not go through TLS (tls_dir)')
}

/** With all that is not said, for a machine with so much RAM. */
export function withDefaults({ signal, ...options }: SendOptions, ramBytes: number): SendSettings {
  return {
    ...{ downtimeMs: 300, timeoutMs: 3_600_000, atTimeout: 'cancel', bytesPerSecond: 0, mostThrottlePercent: 99 },
    ...{ postcopy: 'never', isLocal: false },
    connections: Math.min(mostDefaultConnections, availableParallelism()),
    deltaBytes: Math.min(mostDefaultDeltaBytes, Math.floor(ramBytes / 8)),
    ...{ peerTimeoutMs: 10_000, resolveMs: 300_000 },
    ...options,
  }
}
