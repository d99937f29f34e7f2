import * as z from 'zod/mini'
import { TsvmmError } from '../util/errors.ts'
import { describeIssue, seldomChecked } from '../util/issues.ts'
import { withoutTerminals } from './chardev-rules.ts'
import { withIds } from './device-ids.ts'
import { checkRules } from './rules.ts'
import { flagOf, withoutUnused } from './unsupported.ts'

/**
 * The configuration of a machine, once: the names and defaults are those of Cloud Hypervisor's API. Types, validation and
 * command-line parsing come from here. Sizes are bytes.
 */

const size = z.number().check(z.int(), z.gte(0), z.lte(Number.MAX_SAFE_INTEGER))
const count = z.number().check(z.int(), z.gte(0), z.lte(0xffff_ffff))
const text = z.string().check(z.minLength(1))
/** The slot on PCI; the machine chooses one where it is absent, see settle.ts. */
const pciDeviceId = z.optional(count)

export const cpusSchema = z.strictObject({
  boot_vcpus: z._default(count, 1),
  max_vcpus: z.optional(count),
  topology: z.optional(
    z.strictObject({ threads_per_core: count, cores_per_die: count, dies_per_package: count, packages: count }),
  ),
  max_phys_bits: z._default(count, 46),
  affinity: z._default(z.array(z.strictObject({ vcpu: count, host_cpus: z.array(count) })), []),
  features: z._default(z.strictObject({ amx: z._default(z.boolean(), false) }), { amx: false }),
  nested: z._default(z.boolean(), true),
  /** A file; see cpu-template.ts. */
  template: z.optional(text),
})

export const memorySchema = z.strictObject({
  size: z._default(size, 512 * 1024 * 1024),
  mergeable: z._default(z.boolean(), false),
  shared: z._default(z.boolean(), false),
  hugepages: z._default(z.boolean(), false),
  hugepage_size: z.optional(size),
  prefault: z._default(z.boolean(), false),
  thp: z._default(z.boolean(), true),
  reserve: z._default(z.boolean(), false),
})

export const payloadSchema = z.strictObject({
  kernel: z.optional(text),
  firmware: z.optional(text),
  initramfs: z.optional(text),
  cmdline: z._default(z.string(), ''),
})

const bucketSchema = z.strictObject({
  size: z._default(size, 0),
  one_time_burst: z._default(size, 0),
  refill_time: z._default(count, 0),
})
/** Bytes and operations that fill again in so many milliseconds; a size of 0 is no limit. */
export const rateLimiterSchema = z.strictObject({ bandwidth: z.optional(bucketSchema), ops: z.optional(bucketSchema) })
export const rateLimitGroupSchema = z.strictObject({ id: text, rate_limiter_config: rateLimiterSchema })

export const diskSchema = z.strictObject({
  path: text,
  readonly: z._default(z.boolean(), false),
  direct: z._default(z.boolean(), false),
  num_queues: z._default(count, 1),
  queue_size: z._default(count, 128),
  id: z.optional(text),
  serial: z.optional(z.string()),
  sparse: z._default(z.boolean(), true),
  /** Unknown is what clients write that leave it to us: raw, unless the image claims something else. */
  image_type: z._default(z.enum(['Raw', 'Qcow2', 'FixedVhd', 'Vhdx', 'Unknown']), 'Raw'),
  /** The image may stand on other files, which it names. */
  backing_files: z._default(z.boolean(), false),
  rate_limiter_config: z.optional(rateLimiterSchema),
  /** One of `rate_limit_groups`. */
  rate_limit_group: z.optional(text),
  pci_device_id: pciDeviceId,
})

export const netSchema = z.strictObject({
  tap: z.optional(text),
  ip: z.optional(z.string()),
  mask: z.optional(z.string()),
  mac: z.optional(z.string()),
  host_mac: z.optional(z.string()),
  mtu: z.optional(count),
  num_queues: z._default(count, 2),
  queue_size: z._default(count, 256),
  id: z.optional(text),
  fds: z.optional(z.array(count)),
  offload_tso: z._default(z.boolean(), true),
  offload_ufo: z._default(z.boolean(), true),
  offload_csum: z._default(z.boolean(), true),
  /** Of each direction. */
  rate_limiter_config: z.optional(rateLimiterSchema),
  pci_device_id: pciDeviceId,
})

export const rngSchema = z.strictObject({ src: z._default(text, '/dev/urandom'), pci_device_id: pciDeviceId })

const consoleModes = ['Off', 'Null', 'Tty', 'Pty', 'File'] as const
const serialSchema = z.strictObject({
  mode: z.enum([...consoleModes, 'Socket']),
  file: z.optional(text),
  socket: z.optional(text),
})
const chardevSchema = z.strictObject({ mode: z.enum(consoleModes), file: z.optional(text) })
const consoleSchema = z.extend(chardevSchema, { pci_device_id: pciDeviceId })
/** Its port: Bochs's, unless the guest knows of another. */
const debugConsoleSchema = z.extend(chardevSchema, { iobase: z._default(count, 0xe9) })

export const platformSchema = z.strictObject({
  serial_number: z.optional(z.string()),
  uuid: z.optional(z.string()),
  oem_strings: z._default(z.array(z.string()), []),
})

export const vmConfigSchema = z.strictObject({
  cpus: z._default(cpusSchema, cpusSchema.parse({}, seldomChecked)),
  memory: z._default(memorySchema, memorySchema.parse({}, seldomChecked)),
  payload: payloadSchema,
  rate_limit_groups: z._default(z.array(rateLimitGroupSchema), []),
  disks: z._default(z.array(diskSchema), []),
  net: z._default(z.array(netSchema), []),
  rng: z._default(rngSchema, rngSchema.parse({}, seldomChecked)),
  serial: z._default(serialSchema, { mode: 'Null' }),
  console: z._default(consoleSchema, { mode: 'Tty' }),
  debug_console: z._default(debugConsoleSchema, debugConsoleSchema.parse({ mode: 'Off' }, seldomChecked)),
  platform: z._default(platformSchema, platformSchema.parse({}, seldomChecked)),
})

export type VmConfig = z.output<typeof vmConfigSchema>
export type VmConfigInput = z.input<typeof vmConfigSchema>
export type RateLimiterConfig = z.output<typeof rateLimiterSchema>
export type DiskConfig = z.output<typeof diskSchema>
export type DiskConfigInput = z.input<typeof diskSchema>
export type NetConfig = z.output<typeof netSchema>
export type NetConfigInput = z.input<typeof netSchema>
/** What a serial port or a console goes to. */
export type ChardevConfig = z.output<typeof serialSchema>

/** Checks a configuration, fills in its defaults and names its devices. Throws ERR_CONFIG_INVALID naming flag and key. */
export function parseVmConfig(input: unknown): VmConfig {
  const config = withIds(withoutTerminals(parse(vmConfigSchema, input)))
  checkRules(config)
  return config
}

const devicesSchema = z.pick(vmConfigSchema, { disks: true, net: true })

/** As parseVmConfig, devices without a machine: what spans several of them is not looked at. */
export function parseDevices(input: unknown): z.output<typeof devicesSchema> {
  return parse(devicesSchema, input)
}

function parse<S extends z.ZodMiniType>(schema: S, input: unknown): z.output<S> {
  const result = z.safeParse(schema, withoutUnused(input), seldomChecked)
  if (result.success) return result.data
  const [issue] = result.error.issues
  const where = issue === undefined ? { option: 'configuration', reason: 'is not valid' } : locate(issue)
  throw new TsvmmError('ERR_CONFIG_INVALID', where)
}

/** The flag and key that an issue is about. */
function locate(issue: z.core.$ZodIssue): { option: string; reason: string } {
  const { path, reason } = describeIssue(issue)
  const [section, ...keys] = path
  // Each key of the payload is a flag of its own.
  if (section === 'payload' && keys.length > 0) return { option: `--${keys.join('.')}`, reason }
  const option = section === undefined ? 'configuration' : flagOf(section)
  return { option, reason: keys.length === 0 ? reason : `${keys.join('.')}: ${reason}` }
}
