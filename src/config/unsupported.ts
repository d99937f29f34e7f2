import { TsvmmError } from '../util/errors.ts'
import { own } from '../util/own.ts'

/**
 * What Cloud Hypervisor's configuration has and there is no machinery for yet. Its clients write many of these fields with
 * the value that means "not used": that value is taken, any other is refused by name, none is silently ignored.
 */

type Predicate = (value: unknown) => boolean

const never: Predicate = () => false
const isOff: Predicate = value => value === false
const isZero: Predicate = value => value === 0
const isEmptyList: Predicate = value => Array.isArray(value) && value.length === 0
const is =
  (...values: readonly string[]): Predicate =>
  value =>
    values.some(each => each === value)

/** Fields that the schema does not have: the predicate says which value is as good as none. */
const unused: Readonly<Record<string, Readonly<Record<string, Predicate>>>> = {
  '': {
    ...{ balloon: never, fs: isEmptyList, pmem: isEmptyList, vsock: never, vdpa: isEmptyList, devices: isEmptyList },
    ...{ user_devices: isEmptyList, generic_vhost_user: isEmptyList, numa: isEmptyList, pci_segments: isEmptyList },
    ...{ sgx_epc: isEmptyList, landlock_rules: isEmptyList },
    ...{ iommu: isOff, watchdog: isOff, pvpanic: isOff, pvmemcontrol: isOff, rtc: isOff, landlock_enable: isOff },
    ...{ tpm: never, ivshmem: never, gdb: isOff },
  },
  cpus: { kvm_hyperv: isOff, core_scheduling: is('Vm', 'Off'), profile: is('Host') },
  memory: {
    ...{ hotplug_method: is('Acpi'), hotplug_size: isZero, hotplugged_size: isZero, zones: isEmptyList },
  },
  payload: { igvm: never, host_data: never, fw_cfg_config: never },
  disks: {
    ...{ iommu: isOff, vhost_user: isOff, vhost_socket: never },
    ...{ queue_affinity: isEmptyList, disable_io_uring: isOff, disable_aio: isOff },
    // The whole file is locked, and with it every range.
    ...{ lock_granularity: is('Full', 'ByteRange'), pci_segment: isZero },
  },
  net: {
    ...{ iommu: isOff, vhost_user: isOff, vhost_socket: never, vhost_mode: is('Client') },
    pci_segment: isZero,
  },
  rng: { iommu: isOff, id: never, pci_segment: isZero },
  serial: { iommu: isOff },
  console: { iommu: isOff, socket: never, id: never, pci_segment: isZero },
  debug_console: { iommu: isOff, socket: never },
  platform: {
    ...{ num_pci_segments: value => value === 1, iommu_segments: isEmptyList },
    ...{ iommu_address_width_bits: value => value === 64, iommufd_fd: never },
    ...{ tdx: isOff, sev_snp: isOff, iommufd: isOff, vfio_p2p_dma: value => value === true },
    ...{ system_manufacturer: never, system_product_name: never, system_version: never, system_family: never },
    ...{ system_sku_number: never, chassis_asset_tag: never },
  },
}

/** Names that newer versions give to fields. */
const aliases: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  platform: { system_serial_number: 'serial_number', system_uuid: 'uuid' },
}

/** Values of fields that the schema does have. */
const unsupportedValues: Readonly<Record<string, Readonly<Record<string, Predicate>>>> = {
  disks: { image_type: is('Vmdk') },
  console: { mode: is('Socket') },
  debug_console: { mode: is('Socket') },
}

/** The flags of sections and fields whose names differ from theirs. */
const flags: Readonly<Record<string, string>> = {
  ...{ disks: '--disk', payload: '--kernel', devices: '--device', user_devices: '--user-device' },
  ...{ generic_vhost_user: '--generic-vhost-user', pci_segments: '--pci-segment', sgx_epc: '--sgx-epc' },
  ...{ rate_limit_groups: '--rate-limit-group', landlock_enable: '--landlock', landlock_rules: '--landlock-rules' },
  ...{ debug_console: '--debug-console' },
}

/** The flag that sets a section of the configuration. */
export function flagOf(section: string): string {
  return own(flags, section) ?? `--${section}`
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * The same configuration without nulls, which mean what absence means, and without fields that say "not used".
 * Throws ERR_CONFIG_INVALID naming flag and field where something is asked for that is not supported yet.
 */
export function withoutUnused(config: unknown): unknown {
  if (!isObject(config)) return config
  const sections = Object.entries(withoutNulls(config)).map(([section, value]): [string, unknown] => {
    if (Array.isArray(value)) return [section, value.map(item => checkedSection(section, item))]
    return [section, checkedSection(section, value)]
  })
  return checkedSection('', Object.fromEntries(sections))
}

function withoutNulls(object: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null && value !== undefined))
}

function withoutNullsWithin(value: unknown): unknown {
  if (!isObject(value)) return value
  return Object.fromEntries(
    Object.entries(withoutNulls(value)).map(([name, content]) => [name, withoutNullsWithin(content)]),
  )
}

function checkedSection(section: string, value: unknown): unknown {
  if (!isObject(value)) return value
  const result = new Map<string, unknown>()
  for (const [name, content] of Object.entries(withoutNulls(value))) {
    const field = own(own(aliases, section), name) ?? name
    if (result.has(field)) {
      throw new TsvmmError('ERR_CONFIG_INVALID', { option: flagOf(section), reason: `${field}: is there twice` })
    }
    if (own(own(unsupportedValues, section), field)?.(content)) refuse(section, field, content)
    const isUnused = own(own(unused, section), field)
    if (isUnused === undefined) result.set(field, withoutNullsWithin(content))
    else if (!isUnused(content)) refuse(section, field)
  }
  return Object.fromEntries(result)
}

function refuse(section: string, field: string, value?: unknown): never {
  const what = value === undefined ? '' : `${value} `
  if (section === '') {
    throw new TsvmmError('ERR_CONFIG_INVALID', { option: flagOf(field), reason: 'is not supported yet' })
  }
  const reason = `${field}: ${what}is not supported yet`
  throw new TsvmmError('ERR_CONFIG_INVALID', { option: flagOf(section), reason })
}
