import * as z from 'zod/mini'
import { vmConfigSchema } from '../config/vm-config.ts'
import { migrationPhases } from '../migration/progress.ts'
import { clientStates } from '../vmm/vm-info.ts'

/** The shapes of the API beside the machine's configuration; names are Cloud Hypervisor's. Sizes are bytes. */

const count = z.number().check(z.int(), z.gte(0), z.lte(0xffff_ffff))
const size = z.number().check(z.int(), z.gte(0), z.lte(Number.MAX_SAFE_INTEGER))
const text = z.string().check(z.minLength(1))

export { vmConfigSchema }

export const pingSchema = z.object({
  build_version: z.string(),
  version: z.string(),
  pid: size,
  features: z.array(z.string()),
})

const deviceNodeSchema = z.object({
  id: z.string(),
  resources: z.array(z.looseObject({})),
  parent: z.optional(z.string()),
  children: z.array(z.string()),
  pci_bdf: z.optional(z.string()),
})

const share = z.number().check(z.gte(0))

/** Nothing while none is under way. Rates are bytes a second. */
export const migrationProgressSchema = z.object({
  id: z.optional(z.string()),
  phase: z.optional(z.enum(migrationPhases)),
  iteration: z.optional(count),
  elapsed_ms: z.optional(share),
  bytes_done: z.optional(size),
  bytes_total: z.optional(size),
  bytes_sent: z.optional(size),
  bandwidth: z.optional(share),
  dirty_rate: z.optional(share),
  expected_downtime_ms: z.optional(share),
  throttle: z.optional(count),
})

export const vmInfoSchema = z.object({
  config: vmConfigSchema,
  state: z.enum(clientStates),
  memory_actual_size: size,
  device_tree: z.optional(z.record(z.string(), deviceNodeSchema)),
  migration: z.optional(migrationProgressSchema),
})

/** Where a device is that was added to a machine that runs. */
export const addedDeviceSchema = z.object({ id: z.string(), bdf: z.string() })

export const vmCountersSchema = z.record(z.string(), z.record(z.string(), size))

/** Nothing while none is being taken. */
export const snapshotProgressSchema = z.object({
  bytes_done: z.optional(size),
  bytes_total: z.optional(size),
  bytes_written: z.optional(size),
})

export const inspectSchema = z.object({ component: z.nullish(text) })

const componentSchema = z.object({
  name: z.string(),
  state: z.enum(['saved', 'stateless', 'pinned']),
  schema: z.optional(z.string()),
  version: z.optional(count),
  reason: z.optional(z.string()),
  /** Of the one that was asked for. */
  content: z.optional(z.unknown()),
})

export const inspectionSchema = z.object({ components: z.array(componentSchema) })

export const errorSchema = z.array(z.string())

// Requests whose machinery comes later: what they would need is checked all the same.

export const resizeSchema = z.object({
  desired_vcpus: z.nullish(count),
  desired_ram: z.nullish(size),
  desired_balloon: z.nullish(size),
})

export const resizeZoneSchema = z.object({ id: text, desired_ram: size })
export const resizeDiskSchema = z.object({ id: text, desired_size: size })
export const coredumpSchema = z.object({ destination_url: text })
export const removeDeviceSchema = z.object({ id: text })
/** The configuration of a device that is added; what it must have comes with its machinery. */
export const deviceSchema = z.looseObject({})
