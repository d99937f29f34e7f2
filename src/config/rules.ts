import { totalmem } from 'node:os'
import { TsvmmError } from '../util/errors.ts'
import type { VmConfig } from './vm-config.ts'

const mebibyte = 1024 * 1024
const maximumVcpus = 254
const maximumQueueSize = 32768
const serialMaximumBytes = 20

function fail(option: string, reason: string): never {
  throw new TsvmmError('ERR_CONFIG_INVALID', { option, reason })
}

/** What a schema of single fields cannot say. Throws ERR_CONFIG_INVALID naming flag and key. */
export function checkRules(config: VmConfig): void {
  checkCpus(config.cpus)
  checkMemory(config.memory)
  if (config.payload.kernel === undefined) fail('--kernel', 'is missing: a machine needs something to boot')
  if (config.payload.firmware !== undefined) fail('--firmware', 'is not supported yet; give the firmware as --kernel')
  checkDisks(config.disks)
  checkNet(config.net)
  for (const flag of ['serial', 'console'] as const) {
    const { mode, file } = config[flag]
    if (mode === 'File' && file === undefined) fail(`--${flag}`, 'file: a path is missing')
  }
  if (config.serial.mode === 'Tty' && config.console.mode === 'Tty') {
    fail('--console', 'tty: the terminal is taken by --serial tty; use --console off')
  }
  checkUnique(
    'device ids',
    [...config.disks, ...config.net].map(device => device.id ?? ''),
  )
}

function checkCpus({ boot_vcpus, max_vcpus, topology, affinity, max_phys_bits }: VmConfig['cpus']): void {
  const maximum = max_vcpus ?? boot_vcpus
  if (boot_vcpus < 1) fail('--cpus', 'boot: at least 1 is needed')
  if (boot_vcpus > maximumVcpus) fail('--cpus', `boot: at most ${maximumVcpus} are possible`)
  if (maximum < boot_vcpus) fail('--cpus', `max: ${maximum} is less than boot=${boot_vcpus}`)
  if (maximum > boot_vcpus) fail('--cpus', 'max: adding vCPUs later is not supported yet')
  if (max_phys_bits < 32 || max_phys_bits > 52) fail('--cpus', `max_phys_bits: ${max_phys_bits} is not in 32..52`)
  if (topology !== undefined) {
    const { threads_per_core, cores_per_die, dies_per_package, packages } = topology
    const product = threads_per_core * cores_per_die * dies_per_package * packages
    if (product !== maximum) fail('--cpus', `topology: its product is ${product}, but there are ${maximum} vCPUs`)
  }
  for (const { vcpu } of affinity) {
    if (vcpu >= maximum) fail('--cpus', `affinity: there is no vCPU ${vcpu}`)
  }
  checkUnique(
    '--cpus affinity',
    affinity.map(({ vcpu }) => String(vcpu)),
  )
}

function checkMemory({ size, hugepages, hugepage_size }: VmConfig['memory']): void {
  if (size === 0) fail('--memory', 'size: 0 is not enough')
  if (size % (2 * mebibyte) !== 0) fail('--memory', `size: ${size} is not a multiple of 2 MiB`)
  if (size < 16 * mebibyte) fail('--memory', `size: ${size} is less than 16 MiB`)
  if (size > totalmem()) fail('--memory', `size: ${size} is more than the ${totalmem()} bytes that this host has`)
  if (hugepage_size === undefined) return
  if (!hugepages) fail('--memory', 'hugepage_size: needs hugepages=on')
  if (hugepage_size !== 2 * mebibyte && hugepage_size !== 1024 * mebibyte) {
    fail('--memory', `hugepage_size: ${hugepage_size} is neither 2M nor 1G`)
  }
  if (size % hugepage_size !== 0) fail('--memory', 'size: is not a multiple of hugepage_size')
}

function checkQueueSize(flag: string, size: number): void {
  const isPower = size > 0 && (size & (size - 1)) === 0
  if (!isPower) fail(flag, `queue_size: ${size} is not a power of two`)
  if (size > maximumQueueSize) fail(flag, `queue_size: ${size} is more than ${maximumQueueSize}`)
}

function checkDisks(disks: VmConfig['disks']): void {
  for (const disk of disks) {
    checkQueueSize('--disk', disk.queue_size)
    if (disk.num_queues < 1 || disk.num_queues > 256) fail('--disk', `num_queues: ${disk.num_queues} is not in 1..256`)
    if (Buffer.byteLength(disk.serial ?? '') > serialMaximumBytes)
      fail('--disk', `serial: more than ${serialMaximumBytes} bytes`)
  }
}

function checkNet(net: VmConfig['net']): void {
  for (const card of net) {
    checkQueueSize('--net', card.queue_size)
    const { num_queues, mac, host_mac, ip, mask, mtu, fds, tap } = card
    if (num_queues < 2 || num_queues % 2 !== 0) fail('--net', `num_queues: ${num_queues} is not a number of pairs`)
    if (num_queues > 512) fail('--net', `num_queues: ${num_queues} is more than 512`)
    for (const [key, value] of [
      ['mac', mac],
      ['host_mac', host_mac],
    ] as const) {
      if (value !== undefined) checkMac(key, value)
    }
    for (const [key, value] of [
      ['ip', ip],
      ['mask', mask],
    ] as const) {
      if (value !== undefined && !isIpv4(value)) fail('--net', `${key}: ${value} is not an IPv4 address`)
    }
    if (mask !== undefined && ip === undefined) fail('--net', 'mask: needs ip')
    if (mtu !== undefined && (mtu < 68 || mtu > 65535)) fail('--net', `mtu: ${mtu} is not in 68..65535`)
    if (fds !== undefined && tap !== undefined) fail('--net', 'fd: cannot be given together with tap')
    if (fds !== undefined && fds.length * 2 !== num_queues) fail('--net', `fd: ${fds.length} for ${num_queues} queues`)
  }
  checkUnique(
    '--net tap',
    net.flatMap(({ tap }) => (tap === undefined ? [] : [tap])),
  )
}

function checkMac(key: string, value: string): void {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(value)) fail('--net', `${key}: ${value} is not a MAC address`)
  if ((Number.parseInt(value.slice(0, 2), 16) & 1) !== 0) fail('--net', `${key}: ${value} is a multicast address`)
}

function isIpv4(value: string): boolean {
  const parts = value.split('.')
  return parts.length === 4 && parts.every(part => /^\d{1,3}$/.test(part) && Number(part) <= 255)
}

function checkUnique(what: string, values: readonly string[]): void {
  const seen = new Set<string>()
  for (const value of values) {
    if (seen.has(value)) fail(what, `${value} is there twice`)
    seen.add(value)
  }
}
