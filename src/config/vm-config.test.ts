import { totalmem } from 'node:os'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { parseVmConfig } from './vm-config.ts'

const payload = { kernel: '/boot/vmlinux' }

function refuses(t: ExecutionContext, parts: object, message: string): void {
  t.throws(() => parseVmConfig({ payload, ...parts }), { code: 'ERR_CONFIG_INVALID', message })
}

test("a kernel is enough: the rest has Cloud Hypervisor's defaults", t => {
  const config = parseVmConfig({ payload })
  t.like(config, {
    cpus: { boot_vcpus: 1, max_phys_bits: 46, nested: true, features: { amx: false } },
    memory: { size: 512 * 1024 * 1024, thp: true, shared: false, reserve: false },
    rng: { src: '/dev/urandom' },
    serial: { mode: 'Null' },
    console: { mode: 'Tty' },
  })
  t.deepEqual([config.disks, config.net], [[], []])
})

test('disks and cards have the defaults of Cloud Hypervisor and are named in order', t => {
  const { disks, net } = parseVmConfig({
    payload,
    disks: [{ path: 'a' }, { path: 'b', id: '_net3' }, { path: 'c' }],
    net: [{}, {}],
  })
  t.like(disks[0], { num_queues: 1, queue_size: 128, readonly: false, direct: false, sparse: true, image_type: 'Raw' })
  t.like(net[0], { num_queues: 2, queue_size: 256, offload_tso: true, offload_ufo: true, offload_csum: true })
  t.deepEqual(
    [...disks, ...net].map(device => device.id),
    ['_disk0', '_net3', '_disk1', '_net2', '_net4'],
  )
})

test('what is parsed once is parsed again to the same', t => {
  const config = parseVmConfig({ payload, disks: [{ path: 'a' }], net: [{ mac: '52:54:00:00:00:01' }] })
  t.deepEqual(parseVmConfig(config), config)
})

test('absence, null and undefined are one', t => {
  t.deepEqual(
    parseVmConfig({ payload, balloon: null, cpus: { topology: null, max_vcpus: undefined } }),
    parseVmConfig({ payload }),
  )
})

test('a wrong type names flag and key', t => {
  refuses(t, { cpus: { boot_vcpus: '4' } }, '--cpus: boot_vcpus: must be of type number')
  refuses(t, { disks: [{}] }, '--disk: path: is missing')
  refuses(t, { disks: [{ path: 'a', mirror: 'b' }] }, '--disk: unknown key mirror')
  refuses(t, { disk: [] }, 'configuration: unknown key disk')
  refuses(t, { memory: { size: 1.5 } }, '--memory: size: must be of type int')
  refuses(t, { memory: { size: 2 ** 53 } }, `--memory: size: must be at most ${Number.MAX_SAFE_INTEGER}`)
  refuses(t, { serial: { mode: 'Loud' } }, '--serial: mode: must be one of Off, Null, Tty, Pty, File, Socket')
  refuses(t, { serial: 'tty' }, '--serial: must be of type object')
})

test('a field of Cloud Hypervisor without machinery here is refused by name', t => {
  refuses(t, { balloon: { size: 1 } }, '--balloon: is not supported yet')
  refuses(t, { fs: [{ tag: 'a' }] }, '--fs: is not supported yet')
  refuses(t, { cpus: { kvm_hyperv: true } }, '--cpus: kvm_hyperv: is not supported yet')
  refuses(t, { memory: { hotplug_size: 1 } }, '--memory: hotplug_size: is not supported yet')
  refuses(t, { disks: [{ path: 'a', iommu: true }] }, '--disk: iommu: is not supported yet')
  refuses(t, { disks: [{ path: 'a', image_type: 'Vmdk' }] }, '--disk: image_type: Vmdk is not supported yet')
  for (const image_type of ['Raw', 'FixedVhd', 'Vhdx', 'Unknown']) {
    const message = '--disk: backing_files: only images of image_type=qcow2 have them'
    refuses(t, { disks: [{ path: 'a', image_type, backing_files: true }] }, message)
  }
  refuses(t, { console: { mode: 'Socket', socket: '/s' } }, '--console: mode: Socket is not supported yet')
})

test('such a field is taken where it says that it is not used', t => {
  const config = parseVmConfig({
    payload,
    ...{ balloon: null, fs: [], watchdog: false, debug_console: { mode: 'Off', iobase: 233, iommu: false } },
    cpus: { kvm_hyperv: false, core_scheduling: 'Vm', profile: 'Host' },
    disks: [{ path: 'a', iommu: false, vhost_user: false, backing_files: false, pci_segment: 0, queue_affinity: [] }],
  })
  t.deepEqual(config, parseVmConfig({ payload, disks: [{ path: 'a' }] }))
})

test('a machine needs a kernel', t => {
  t.throws(() => parseVmConfig({ payload: {} }), { message: '--kernel: is missing: a machine needs something to boot' })
  t.throws(() => parseVmConfig({ payload: { initramfs: 'a' } }), {
    message: '--kernel: is missing: --initramfs needs it',
  })
  t.throws(() => parseVmConfig({}), { message: '--kernel: is missing' })
  t.throws(() => parseVmConfig('kernel'), { message: 'configuration: must be of type object' })
})

test('firmware boots what is on the disks, and nothing else is given with it', t => {
  t.deepEqual(parseVmConfig({ payload: { firmware: 'f', cmdline: '' } }).payload, { firmware: 'f', cmdline: '' })
  for (const [other, flag] of Object.entries({ kernel: '--kernel', initramfs: '--initramfs', cmdline: '--cmdline' })) {
    const config = { payload: { firmware: 'f', [other]: 'x' } }
    t.throws(() => parseVmConfig(config), {
      message: `--firmware: does not go with ${flag}: it boots what is on the disks`,
    })
  }
})

test('vCPUs: count, maximum, topology and affinity fit each other', t => {
  refuses(t, { cpus: { boot_vcpus: 0 } }, '--cpus: boot: at least 1 is needed')
  refuses(t, { cpus: { boot_vcpus: 255 } }, '--cpus: boot: at most 254 are possible')
  refuses(t, { cpus: { boot_vcpus: 4, max_vcpus: 2 } }, '--cpus: max: 2 is less than boot=4')
  refuses(t, { cpus: { boot_vcpus: 1, max_vcpus: 2 } }, '--cpus: max: adding vCPUs later is not supported yet')
  const topology = { threads_per_core: 2, cores_per_die: 2, dies_per_package: 1, packages: 1 }
  refuses(t, { cpus: { boot_vcpus: 2, topology } }, '--cpus: topology: its product is 4, but there are 2 vCPUs')
  refuses(t, { cpus: { affinity: [{ vcpu: 1, host_cpus: [0] }] } }, '--cpus: affinity: there is no vCPU 1')
  refuses(t, { cpus: { affinity: [{ vcpu: 0, host_cpus: [] }] } }, '--cpus: affinity: vCPU 0 has no host CPU to run on')
  refuses(t, { cpus: { affinity: [{ vcpu: 0, host_cpus: [0, 9999] }] } }, '--cpus: affinity: this host has no CPU 9999')
  t.notThrows(() => parseVmConfig({ payload, cpus: { affinity: [{ vcpu: 0, host_cpus: [0] }] } }))
  t.notThrows(() => parseVmConfig({ payload, cpus: { boot_vcpus: 4, topology } }))
})

test('memory: size and pages', t => {
  const size = 1024 * 1024 * 1024
  refuses(t, { memory: { size: 0 } }, '--memory: size: 0 is not enough')
  refuses(t, { memory: { size: size + 4096 } }, `--memory: size: ${size + 4096} is not a multiple of 2 MiB`)
  const beyond = Math.ceil(totalmem() / 2 ** 21) * 2 ** 21 + 2 ** 21
  refuses(
    t,
    { memory: { size: beyond } },
    `--memory: size: ${beyond} is more than the ${totalmem()} bytes that this host has`,
  )
  refuses(t, { memory: { hugepage_size: 2 ** 21 } }, '--memory: hugepage_size: needs hugepages=on')
  refuses(t, { memory: { hugepages: true, hugepage_size: 4096 } }, '--memory: hugepage_size: 4096 is neither 2M nor 1G')
})

test('disks: queues, serial and paths', t => {
  refuses(t, { disks: [{ path: 'a', queue_size: 100 }] }, '--disk: queue_size: 100 is not a power of two')
  refuses(t, { disks: [{ path: 'a', queue_size: 2 }] }, '--disk: queue_size: 2 is less than 4')
  refuses(t, { disks: [{ path: 'a', queue_size: 2 ** 16 }] }, '--disk: queue_size: 65536 is more than 32768')
  refuses(t, { disks: [{ path: 'a', num_queues: 0 }] }, '--disk: num_queues: 0 is not in 1..256')
  refuses(t, { disks: [{ path: 'a', serial: 'é'.repeat(11) }] }, '--disk: serial: more than 20 bytes')
  const twice = '--disk: path: a is there twice, which only readonly=on on both allows'
  refuses(t, { disks: [{ path: 'a' }, { path: './a', readonly: true }] }, twice)
  t.notThrows(() =>
    parseVmConfig({
      payload,
      disks: [
        { path: 'a', readonly: true },
        { path: 'a', readonly: true },
      ],
    }),
  )
})

test('cards: queues come in pairs', t => {
  refuses(t, { net: [{ num_queues: 3 }] }, '--net: num_queues: 3 is not a number of pairs')
  refuses(t, { net: [{ num_queues: 0 }] }, '--net: num_queues: 0 is not a number of pairs')
  refuses(t, { net: [{ fds: [7], num_queues: 4 }] }, '--net: fd: 1 for num_queues=4; each pair needs one')
  refuses(t, { net: [{ fds: [1] }] }, '--net: fd: 0 to 2 are the standard streams')
  refuses(t, { net: [{ fds: [7] }, { fds: [7] }] }, '--net: fd: 7 is there twice')
})

test('cards: addresses', t => {
  refuses(t, { net: [{ mac: '01:00:5e:00:00:01' }] }, '--net: mac: 01:00:5e:00:00:01 is a multicast address')
  refuses(t, { net: [{ host_mac: '52:54:00' }] }, '--net: host_mac: 52:54:00 is not a MAC address')
  refuses(t, { net: [{ mac: '00:00:00:00:00:00' }] }, '--net: mac: 00:00:00:00:00:00 is no address of a card')
  refuses(t, { net: [{ ip: '10.0.0.256' }] }, '--net: ip: 10.0.0.256 is not an IPv4 address')
  refuses(t, { net: [{ mask: '255.0.0.0' }] }, '--net: mask: needs ip')
  refuses(t, { net: [{ ip: '10.0.0.1', mask: '255.0.255.0' }] }, '--net: mask: 255.0.255.0 is not an IPv4 network mask')
  refuses(t, { net: [{ mtu: 67 }] }, '--net: mtu: 67 is not in 68..65535')
})

test('cards: taps', t => {
  refuses(t, { net: [{ tap: 'a', fds: [7] }] }, '--net: fd: cannot be given together with tap')
  refuses(t, { net: [{ tap: 'a' }, { tap: 'a' }] }, '--net: tap: a is there twice')
  refuses(t, { net: [{ tap: 'sixteen-byte-tap' }] }, '--net: tap: sixteen-byte-tap is longer than 15 bytes')
  refuses(t, { net: [{ tap: 'a%d' }] }, '--net: tap: a%d is no name for an interface')
  refuses(t, { net: [{ tap: 'a/b' }] }, '--net: tap: a/b is no name for an interface')
})

test('platform: the UUID is one', t => {
  for (const uuid of ['', 'nonsense', '00000000-0000-0000-0000-00000000000g', '00000000000000000000000000000000']) {
    refuses(t, { platform: { uuid } }, `--platform: uuid: ${uuid} is not a UUID`)
  }
  t.notThrows(() => parseVmConfig({ payload, platform: { uuid: '0A0b0c0d-0000-4000-8000-0123456789ab' } }))
})

test('files of the payload are named by their own flags', t => {
  t.throws(() => parseVmConfig({ payload: { kernel: '' } }), { message: '--kernel: is empty' })
  t.throws(() => parseVmConfig({ payload: { kernel: 'k', initramfs: 7 } }), {
    message: '--initramfs: must be of type string',
  })
})

test('ids are unique over all devices and not the machine’s own', t => {
  refuses(t, { disks: [{ path: 'a', id: 'x' }], net: [{ id: 'x' }] }, '--net: id: x is there twice')
  refuses(
    t,
    {
      disks: [
        { path: 'a', id: 'x' },
        { path: 'b', id: 'x' },
      ],
    },
    '--disk: id: x is there twice',
  )
  refuses(t, { net: [{ id: '__rng' }] }, "--net: id: __rng: names with two underscores are the machine's own")
})

test('one terminal serves one device', t => {
  refuses(t, { serial: { mode: 'Tty' } }, '--console: tty: the terminal is taken by --serial tty; use --console off')
  refuses(t, { serial: { mode: 'File' } }, '--serial: file: a path is missing')
  refuses(t, { serial: { mode: 'Null', file: 'a' } }, '--serial: file: does not go with mode Null')
  const file = { mode: 'File', file: 'log' }
  refuses(t, { serial: file, console: file }, '--console: file: log is taken by --serial')
})

/** What Cloud Hypervisor 53 answers for a machine of two vCPUs with a disk and a card. */
const asCloudHypervisorSaysIt = {
  cpus: {
    ...{ boot_vcpus: 2, max_vcpus: 2, kvm_hyperv: false, max_phys_bits: 46, features: { amx: false }, nested: true },
    ...{ core_scheduling: 'Vm', profile: 'Host' },
  },
  memory: {
    ...{ size: 536870912, mergeable: false, hotplug_method: 'Acpi', shared: false, hugepages: false, prefault: false },
    ...{ reserve: false, thp: true },
  },
  payload: { kernel: 'k', cmdline: 'x' },
  disks: [
    {
      ...{
        pci_segment: 0,
        path: 'd',
        readonly: false,
        direct: false,
        num_queues: 1,
        queue_size: 128,
        vhost_user: false,
      },
      ...{ disable_io_uring: false, disable_aio: false, backing_files: false, sparse: true, image_type: 'Unknown' },
      lock_granularity: 'ByteRange',
    },
  ],
  net: [
    {
      ...{ pci_segment: 0, mac: '52:54:00:00:00:01', num_queues: 2, queue_size: 256, vhost_user: false },
      ...{ vhost_mode: 'Client', offload_tso: true, offload_ufo: true, offload_csum: true },
    },
  ],
  rng: { pci_segment: 0, src: '/dev/urandom' },
  serial: { mode: 'Null' },
  console: { mode: 'Tty', pci_segment: 0 },
  debug_console: { mode: 'Off', iobase: 233 },
  ...{ pvpanic: false, iommu: false, watchdog: false, landlock_enable: false },
  platform: {
    ...{ num_pci_segments: 1, iommu_address_width_bits: 64, system_serial_number: 'x', iommufd: false },
    vfio_p2p_dma: true,
  },
}

test('what Cloud Hypervisor says of a machine describes the same machine', t => {
  const config = parseVmConfig(asCloudHypervisorSaysIt)
  t.like(config, {
    platform: { serial_number: 'x' },
    disks: { 0: { id: '_disk0', image_type: 'Unknown' } },
    net: { 0: { id: '_net1' } },
  })
  refuses(t, { platform: { uuid: 'a', system_uuid: 'b' } }, '--platform: uuid: is there twice')
  refuses(t, { platform: { system_family: 'f' } }, '--platform: system_family: is not supported yet')
})

test('what every object inherits is no field and no section', t => {
  for (const text of [
    '{"payload":{"kernel":"vmlinux"},"cpus":{"__proto__":[]}}',
    '{"payload":{"kernel":"vmlinux"},"__proto__":[]}',
    '{"payload":{"kernel":"vmlinux"},"__proto__":[{"toString":1}]}',
    '{"payload":{"kernel":"vmlinux"},"disks":[{"path":"a","__proto__":{"readonly":true}}]}',
    '{"payload":{"kernel":"vmlinux"},"constructor":{"name":1}}',
  ]) {
    t.throws(() => parseVmConfig(JSON.parse(text)), { code: 'ERR_CONFIG_INVALID' }, text)
  }
})

test('whatever comes in, a configuration or a named error comes out', t => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), junk => {
      for (const candidate of [junk, { payload, cpus: junk }, { payload, disks: [junk] }, { payload, net: junk }]) {
        try {
          parseVmConfig(candidate)
        } catch (error) {
          if (!(error instanceof Error && 'code' in error && error.code === 'ERR_CONFIG_INVALID')) throw error
        }
      }
    }),
  )
  t.pass()
})
