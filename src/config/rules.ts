import { readFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import { resolve } from 'node:path'
import { checkChardevs } from './chardev-rules.ts'
import { checkQueueSize, checkUnique, fail, failConflict } from './checks.ts'
import { checkNet } from './net-rules.ts'
import { checkSlots } from './pci-slots.ts'
import { checkRates } from './rate-rules.ts'
import type { VmConfig } from './vm-config.ts'

const mebibyte = 1024 * 1024
const maximumVcpus = 254
const serialMaximumBytes = 20
/** A request has a header and a status besides its data (virtio 1.2 §5.2.6). */
const minimumDiskQueueSize = 4
const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** What a schema of single fields cannot say. Throws ERR_CONFIG_INVALID naming flag and key. */
export function checkRules(config: VmConfig): void {
  checkPayload(config.payload)
  checkCpus(config.cpus)
  checkMemory(config.memory)
  checkChardevs(config)
  checkDevices(config)
  checkPlatform(config.platform)
}

/** What must hold for devices that can come and go. Throws ERR_CONFIG_INVALID naming flag and key. */
export function checkDevices(config: VmConfig): void {
  checkDisks(config.disks)
  checkRates(config)
  checkNet(config.net)
  checkIds('--disk', config.disks)
  checkIds('--net', config.net)
  checkUnique('--net', 'id', [...config.disks, ...config.net].map(idOf))
  checkSlots(config)
}

function checkPayload({ kernel, firmware, initramfs, cmdline }: VmConfig['payload']): void {
  if (firmware !== undefined) {
    const others = { '--kernel': kernel, '--initramfs': initramfs, '--cmdline': cmdline === '' ? undefined : cmdline }
    const other = Object.entries(others).find(([, value]) => value !== undefined)
    if (other !== undefined) fail('--firmware', `does not go with ${other[0]}: it boots what is on the disks`)
    return
  }
  if (kernel !== undefined) return
  fail(
    '--kernel',
    `is missing: ${initramfs === undefined ? 'a machine needs something to boot' : '--initramfs needs it'}`,
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
  const online = affinity.length === 0 ? undefined : onlineCpus()
  for (const { vcpu, host_cpus } of affinity) {
    if (vcpu >= maximum) fail('--cpus', `affinity: there is no vCPU ${vcpu}`)
    if (host_cpus.length === 0) fail('--cpus', `affinity: vCPU ${vcpu} has no host CPU to run on`)
    const missing = online && host_cpus.find(cpu => !online.has(cpu))
    if (missing !== undefined) fail('--cpus', `affinity: this host has no CPU ${missing}`)
  }
  checkUnique(
    '--cpus',
    'affinity',
    affinity.map(({ vcpu }) => `vCPU ${vcpu}`),
  )
}

/** Numbers of the host's CPUs, or undefined where it does not say: `0-3,8` in sysfs. */
function onlineCpus(): ReadonlySet<number> | undefined {
  try {
    const ranges = readFileSync('/sys/devices/system/cpu/online', 'latin1').trim().split(',')
    const numbers = ranges.flatMap(range => {
      const [first = 0, last = first] = range.split('-').map(Number)
      return Array.from({ length: last - first + 1 }, (_, index) => first + index)
    })
    return new Set(numbers)
  } catch {
    return undefined
  }
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

function checkDisks(disks: VmConfig['disks']): void {
  for (const { queue_size, num_queues, serial, backing_files, image_type } of disks) {
    checkQueueSize('--disk', queue_size, minimumDiskQueueSize)
    if (num_queues < 1 || num_queues > 256) fail('--disk', `num_queues: ${num_queues} is not in 1..256`)
    const serialBytes = Buffer.byteLength(serial ?? '')
    if (backing_files && image_type !== 'Qcow2')
      fail('--disk', 'backing_files: only images of image_type=qcow2 have them')
    if (serialBytes > serialMaximumBytes) fail('--disk', `serial: more than ${serialMaximumBytes} bytes`)
  }
  for (const disk of disks.filter(each => !each.readonly)) {
    const sharers = disks.filter(each => resolve(each.path) === resolve(disk.path))
    if (sharers.length > 1) {
      failConflict('--disk', `path: ${disk.path} is there twice, which only readonly=on on both allows`)
    }
  }
}

function checkIds(flag: string, devices: readonly { id?: string | undefined }[]): void {
  checkUnique(flag, 'id', devices.map(idOf))
  for (const id of devices.map(idOf)) {
    if (id.startsWith('__')) fail(flag, `id: ${id}: names with two underscores are the machine's own`)
  }
}

function idOf(device: { id?: string | undefined }): string {
  return device.id ?? ''
}

function checkPlatform({ uuid }: VmConfig['platform']): void {
  if (uuid !== undefined && !uuidPattern.test(uuid)) fail('--platform', `uuid: ${uuid} is not a UUID`)
}
