import { fileURLToPath } from 'node:url'
import * as z from 'zod/mini'
import type { SnapshotOptions } from '../snapshot/write.ts'
import { TsvmmError } from '../util/errors.ts'
import { overridesSchema } from '../vmm/overrides.ts'
import type { HandedDescriptors } from '../vmm/owned-descriptors.ts'
import type { RestoreOptions } from '../vmm/restore.ts'
import type { RequestDescriptors } from './request-descriptors.ts'

/** Bodies of vm.snapshot and vm.restore; unknown fields are refused: a misspelt one would change what is lost or kept. */

const text = z.string().check(z.minLength(1))
const flag = z.nullish(z.boolean())

/** As many as one message holds, in several of them. */
const descriptorCount = z.number().check(z.int(), z.gte(1), z.lte(1024))

export const snapshotSchema = z.strictObject({
  destination_url: text,
  memory_form: z.nullish(z.enum(['Image', 'Zstd'])),
  compression_level: z.nullish(z.number().check(z.int(), z.gte(-7), z.lte(19))),
  durability: z.nullish(z.enum(['None', 'Data', 'Full'])),
  overwrite: flag,
  parent_url: z.nullish(text),
  live: flag,
  pause_limit: z.nullish(z.number().check(z.int(), z.gte(0), z.lte(Number.MAX_SAFE_INTEGER))),
  disks: z.nullish(z.enum(['Copy', 'Leave'])),
})

export const restoreSchema = z.strictObject({
  source_url: text,
  prefault: flag,
  memory_restore_mode: z.nullish(z.enum(['Copy', 'CopyOnWrite', 'OnDemand'])),
  prefetch: flag,
  background_fill: flag,
  handler_socket: z.nullish(text),
  resume: flag,
  clock: z.nullish(z.enum(['Continue', 'Jump'])),
  tsc_rate: z.nullish(z.enum(['Keep', 'Host'])),
  disks: z.nullish(z.enum(['Copy', 'Leave'])),
  disk_directory: z.nullish(text),
  overrides: z.nullish(overridesSchema),
  /** `fds`: numbers of the client's own. */
  net_fds: z.nullish(z.array(z.strictObject({ id: text, num_fds: descriptorCount, fds: z.nullish(z.unknown()) }))),
  vfio_fds: z.nullish(z.array(z.unknown())),
  iommufd_fd: z.nullish(z.number()),
  zone_updates: z.nullish(z.array(z.unknown())),
})

/** Where a snapshot is to be, and how. Throws ERR_API_REQUEST for a URL that is no file of this host. */
export function snapshotRequest(body: z.output<typeof snapshotSchema>): { path: string; options: SnapshotOptions } {
  const { destination_url, memory_form, compression_level, durability, overwrite, parent_url, live } = body
  const memory = memory_form === 'Zstd' ? 'zstd' : 'image'
  return {
    path: pathAt('destination_url', destination_url),
    options: {
      memory,
      ...(compression_level == null ? {} : { level: compression_level }),
      ...(durability == null ? {} : { durability: durabilities[durability] }),
      overwrite: overwrite === true,
      ...(parent_url == null ? {} : { parent: pathAt('parent_url', parent_url) }),
      live: live === true,
      ...(body.pause_limit == null ? {} : { pauseLimit: body.pause_limit }),
      ...(body.disks == null ? {} : { disks: diskChoices[body.disks] }),
    },
  }
}

/**
 * Where a snapshot is, what becomes of it, and the descriptors of its cards. Throws ERR_API_REQUEST, and ERR_NOT_SUPPORTED for
 * what cards have no use for.
 */
export function restoreRequest(
  body: z.output<typeof restoreSchema>,
  descriptors: RequestDescriptors,
): { path: string; options: RestoreOptions; handed: readonly HandedDescriptors[] } {
  const { source_url, prefault, memory_restore_mode, resume, clock, tsc_rate, iommufd_fd } = body
  for (const field of ['vfio_fds', 'zone_updates'] as const) {
    if ((body[field] ?? []).length > 0) throw new TsvmmError('ERR_NOT_SUPPORTED', { what: `vm.restore with ${field}` })
  }
  if (iommufd_fd != null) throw new TsvmmError('ERR_NOT_SUPPORTED', { what: 'vm.restore with iommufd_fd' })
  if (Object.values(body.overrides?.net ?? {}).some(({ fds }) => fds !== undefined)) {
    throw new TsvmmError('ERR_API_REQUEST', { reason: 'net: fds: descriptors cannot be named by number in a request' })
  }
  const path = pathAt('source_url', source_url)
  const cards = descriptorsByCard(body, descriptors)
  const net = { ...body.overrides?.net }
  for (const { id, handed } of cards) net[id] = { ...net[id], fds: [...handed.fds] }
  const memory = prefault === true ? { ...body.overrides?.memory, prefault } : body.overrides?.memory
  return {
    path,
    handed: cards.map(({ handed }) => handed),
    options: {
      ...(memory_restore_mode == null ? {} : { mode: restoreModes[memory_restore_mode] }),
      ...(body.prefetch == null ? {} : { prefetch: body.prefetch }),
      ...(body.background_fill == null ? {} : { backgroundFill: body.background_fill }),
      ...(body.handler_socket == null ? {} : { handlerSocket: body.handler_socket }),
      ...(body.disks == null ? {} : { disks: diskChoices[body.disks] }),
      ...(body.disk_directory == null ? {} : { diskDirectory: body.disk_directory }),
      resume: resume === true,
      clock: clock === 'Jump' ? 'jump' : 'continue',
      tscRate: tsc_rate === 'Host' ? 'host' : 'keep',
      overrides: { ...body.overrides, net, ...(memory === undefined ? {} : { memory }) },
    },
  }
}

/** The descriptors of each card, as many as `net_fds` says, in that order. Throws ERR_API_REQUEST. */
function descriptorsByCard(
  { net_fds }: z.output<typeof restoreSchema>,
  descriptors: RequestDescriptors,
): { readonly id: string; readonly handed: HandedDescriptors }[] {
  const cards = net_fds ?? []
  const announced = cards.reduce((sum, { num_fds }) => sum + num_fds, 0)
  if (announced !== descriptors.count) {
    const reason = `net_fds: ${announced} descriptors were announced and ${descriptors.count} came`
    throw new TsvmmError('ERR_API_REQUEST', { reason })
  }
  const ids = new Set(cards.map(({ id }) => id))
  if (ids.size < cards.length) throw new TsvmmError('ERR_API_REQUEST', { reason: 'net_fds: a card is there twice' })
  return cards.map(({ id, num_fds }) => ({ id, handed: descriptors.take(num_fds) }))
}

const restoreModes = { Copy: 'copy', CopyOnWrite: 'cow', OnDemand: 'ondemand' } as const
const diskChoices = { Copy: 'copy', Leave: 'leave' } as const
const durabilities = { None: 'none', Data: 'data', Full: 'full' } as const

/** `file:///PATH`, as clients give it, or a path. Throws ERR_API_REQUEST naming the field. */
export function pathAt(field: string, location: string): string {
  if (!/^[a-z][a-z0-9+.-]*:/i.test(location)) return location
  try {
    return fileURLToPath(location)
  } catch (cause) {
    throw new TsvmmError('ERR_API_REQUEST', { reason: `${field}: ${location} is no file of this host` }, { cause })
  }
}
