import * as z from 'zod/mini'
import { TsvmmError } from '../util/errors.ts'
import type { ArrivalOptions } from '../vmm/arrival.ts'
import type { MigrationOptions } from '../vmm/departure.ts'
import { overridesSchema } from '../vmm/overrides.ts'

/**
 * Bodies of vm.send-migration and vm.receive-migration; unknown fields are refused: a misspelt one would change what becomes of
 * the machine.
 */

const text = z.string().check(z.minLength(1))
const flag = z.nullish(z.boolean())
const size = z.nullish(z.number().check(z.int(), z.gte(0), z.lte(Number.MAX_SAFE_INTEGER)))
/** A day. */
const longestMs = 24 * 60 * 60 * 1000
const milliseconds = z.nullish(z.number().check(z.int(), z.gte(1), z.lte(longestMs)))
const tlsDir = z.nullish(text)
/** `Auto` is ours. */
const memoryModes = { Precopy: 'never', Auto: 'if-needed', Postcopy: 'at-once' } as const
const seconds = z.nullish(z.number().check(z.int(), z.gte(1), z.lte(longestMs / 1000)))

export const sendMigrationSchema = z.strictObject({
  destination_url: text,
  preserve_source: flag,
  downtime_ms: milliseconds,
  /** A month. */
  timeout_s: z.nullish(z.number().check(z.int(), z.gte(1), z.lte(31 * 24 * 60 * 60))),
  timeout_strategy: z.nullish(z.enum(['Cancel', 'Ignore'])),
  connections: z.nullish(z.number().check(z.int(), z.gte(1), z.lte(128))),
  bandwidth: size,
  throttle: z.nullish(z.number().check(z.int(), z.gte(0), z.lte(99))),
  delta_cache: size,
  peer_timeout_ms: milliseconds,
  resolve_timeout_s: seconds,
  wait: flag,
  memory_mode: z.nullish(z.enum(['Precopy', 'Auto', 'Postcopy'])),
  local: flag,
  tls_dir: tlsDir,
})

export const receiveMigrationSchema = z.strictObject({
  receiver_url: text,
  tsc_rate: z.nullish(z.enum(['Keep', 'Host'])),
  overrides: z.nullish(overridesSchema),
  peer_timeout_ms: milliseconds,
  resolve_timeout_s: seconds,
  vfio_fds: z.nullish(z.array(z.unknown())),
  iommufd_fd: z.nullish(z.number()),
  zone_updates: z.nullish(z.array(z.unknown())),
  /** As the source has it. */
  memory_mode: z.nullish(z.enum(['Precopy', 'Postcopy'])),
  tls_dir: tlsDir,
})

export const resolveMigrationSchema = z.strictObject({ id: text, decision: z.enum(['Keep', 'Discard']) })

export interface SendRequest {
  readonly url: string
  readonly options: MigrationOptions
  /** The answer comes at the end, otherwise as soon as memory is on its way. */
  readonly waits: boolean
}

export function sendRequest(body: z.output<typeof sendMigrationSchema>): SendRequest {
  const { destination_url, preserve_source, timeout_strategy, timeout_s, resolve_timeout_s } = body
  return {
    url: destination_url,
    waits: body.wait !== false,
    options: {
      preserve: preserve_source === true,
      ...(body.local === true ? { isLocal: true } : {}),
      atTimeout: timeout_strategy === 'Ignore' ? 'cut-over' : 'cancel',
      ...(body.tls_dir == null ? {} : { tlsDir: body.tls_dir }),
      ...(body.memory_mode == null ? {} : { postcopy: memoryModes[body.memory_mode] }),
      ...(timeout_s == null ? {} : { timeoutMs: timeout_s * 1000 }),
      ...(resolve_timeout_s == null ? {} : { resolveMs: resolve_timeout_s * 1000 }),
      ...present({
        downtimeMs: body.downtime_ms,
        connections: body.connections,
        bytesPerSecond: body.bandwidth,
        mostThrottlePercent: body.throttle,
        deltaBytes: body.delta_cache,
        peerTimeoutMs: body.peer_timeout_ms,
      }),
    },
  }
}

/** Throws ERR_NOT_SUPPORTED for descriptors. */
export function receiveRequest(body: z.output<typeof receiveMigrationSchema>): {
  readonly url: string
  readonly options: ArrivalOptions
} {
  const { receiver_url, overrides, tsc_rate, resolve_timeout_s, iommufd_fd } = body
  for (const field of ['vfio_fds', 'zone_updates'] as const) {
    if ((body[field] ?? []).length > 0) throw notSupported('vm.receive-migration', field)
  }
  if (iommufd_fd != null) throw notSupported('vm.receive-migration', 'iommufd_fd')
  if (Object.values(overrides?.net ?? {}).some(({ fds }) => fds !== undefined)) {
    throw new TsvmmError('ERR_API_REQUEST', { reason: 'net: fds: descriptors cannot be named by number in a request' })
  }
  return {
    url: receiver_url,
    options: {
      tscRate: tsc_rate === 'Host' ? 'host' : 'keep',
      ...(body.tls_dir == null ? {} : { tlsDir: body.tls_dir }),
      ...(overrides == null ? {} : { overrides }),
      ...(resolve_timeout_s == null ? {} : { resolveMs: resolve_timeout_s * 1000 }),
      ...present({ peerTimeoutMs: body.peer_timeout_ms }),
    },
  }
}

function notSupported(request: string, field: string): TsvmmError {
  return new TsvmmError('ERR_NOT_SUPPORTED', { what: `${request} with ${field}` })
}

function present<Name extends string>(
  numbers: Readonly<Record<Name, number | null | undefined>>,
): { [N in Name]?: number } {
  const given: { [N in Name]?: number } = {}
  for (const name in numbers) {
    const value = numbers[name]
    if (value != null) given[name] = value
  }
  return given
}
