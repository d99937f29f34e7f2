import type { OptionKey, OptionKeys } from './options.ts'
import {
  cardDescriptors,
  choice,
  features,
  number,
  numberList,
  path,
  queueAffinity,
  signed,
  size,
  text,
  textList,
  toggle,
  topology,
  vcpuAffinity,
} from './values.ts'

/** The keys of each option with structure: names, meanings and defaults are Cloud Hypervisor's. */

export const cpusKeys: OptionKeys = {
  boot: { field: 'boot_vcpus', kind: number, help: 'vCPUs at boot, 1 to 254 [1]' },
  max: { field: 'max_vcpus', kind: number, help: 'most vCPUs there can be; today as many as at boot [boot]' },
  topology: {
    field: 'topology',
    kind: topology,
    help: 'how the vCPUs look to the guest; the product is max [1:boot:1:1]',
  },
  max_phys_bits: { field: 'max_phys_bits', kind: number, help: 'most bits of a physical address [46]' },
  affinity: { field: 'affinity', kind: vcpuAffinity, help: 'the host CPUs that each vCPU may run on [all]' },
  features: { field: 'features', kind: features(['amx']), help: 'CPU features that are off otherwise [none]' },
  nested: { field: 'nested', kind: toggle, help: 'the guest may virtualize, too [on]' },
  template: { field: 'template', kind: path, help: 'what the guest is not shown of the CPU: a JSON file [none]' },
  kvm_hyperv: { field: 'kvm_hyperv', kind: toggle },
  core_scheduling: {
    field: 'core_scheduling',
    kind: choice({ vm: 'Vm', vcpu: 'Vcpu', off: 'Off' }, 'vm|vcpu|off'),
  },
  profile: { field: 'profile', kind: choice({ host: 'Host' }, 'host') },
}

export const memoryKeys: OptionKeys = {
  size: { field: 'size', kind: size, help: 'guest RAM, a multiple of 2M [512M]' },
  mergeable: { field: 'mergeable', kind: toggle, help: 'the host may merge equal pages (KSM) [off]' },
  shared: { field: 'shared', kind: toggle, help: 'memory that other processes can map [off]' },
  hugepages: { field: 'hugepages', kind: toggle, help: 'take huge pages that the host has set aside [off]' },
  hugepage_size: { field: 'hugepage_size', kind: size, help: '2M or 1G, with hugepages=on [2M]' },
  prefault: { field: 'prefault', kind: toggle, help: 'take all pages from the host at start [off]' },
  thp: { field: 'thp', kind: toggle, help: 'use transparent huge pages [on]' },
  reserve: { field: 'reserve', kind: toggle, help: 'the host counts all of it as used from the start [off]' },
  hotplug_method: {
    field: 'hotplug_method',
    kind: choice({ acpi: 'Acpi', 'virtio-mem': 'VirtioMem' }, 'acpi|virtio-mem'),
  },
  hotplug_size: { field: 'hotplug_size', kind: size },
  hotplugged_size: { field: 'hotplugged_size', kind: size },
}

const limiter = 'rate_limiter_config'

const rateLimiterKeys: OptionKeys = {
  bw_size: { field: `${limiter}.bandwidth.size`, kind: size, help: 'bytes in each bw_refill_time [no limit]' },
  bw_one_time_burst: {
    field: `${limiter}.bandwidth.one_time_burst`,
    kind: size,
    help: 'bytes on top of that, once [0]',
  },
  bw_refill_time: { field: `${limiter}.bandwidth.refill_time`, kind: number, help: 'milliseconds' },
  ops_size: { field: `${limiter}.ops.size`, kind: number, help: 'operations in each ops_refill_time [no limit]' },
  ops_one_time_burst: {
    field: `${limiter}.ops.one_time_burst`,
    kind: number,
    help: 'operations on top of that, once [0]',
  },
  ops_refill_time: { field: `${limiter}.ops.refill_time`, kind: number, help: 'milliseconds' },
}

export const rateLimitGroupKeys: OptionKeys = {
  id: { field: 'id', kind: text, isRequired: true, help: 'name of the group, for rate_limit_group of disks' },
  ...rateLimiterKeys,
}

const pciKeys: OptionKeys = {
  iommu: { field: 'iommu', kind: toggle },
  pci_segment: { field: 'pci_segment', kind: number },
  pci_device_id: { field: 'pci_device_id', kind: number, help: 'slot on PCI, 1 to 31 [the lowest that is free]' },
}

const imageTypes = { raw: 'Raw', qcow2: 'Qcow2', vhd: 'FixedVhd', vhdx: 'Vhdx', vmdk: 'Vmdk' }

export const diskKeys: OptionKeys = {
  path: { field: 'path', kind: path, isRequired: true, help: 'an image or a block device' },
  readonly: { field: 'readonly', kind: toggle, help: 'the guest cannot write; readers may share the file [off]' },
  direct: { field: 'direct', kind: toggle, help: "go past the host's page cache (O_DIRECT) [off]" },
  num_queues: { field: 'num_queues', kind: number, help: 'request queues, a thread each, 1 to 256 [1]' },
  queue_size: { field: 'queue_size', kind: number, help: 'entries of a queue, a power of two, 4 to 32768 [128]' },
  id: { field: 'id', kind: text, help: 'name of the device [_diskN]' },
  serial: { field: 'serial', kind: text, help: 'serial number that the guest sees, at most 20 bytes [id]' },
  sparse: { field: 'sparse', kind: toggle, help: 'blocks that the guest discards go back to the host [on]' },
  image_type: {
    field: 'image_type',
    kind: choice(imageTypes, 'raw|qcow2|vhd|vhdx'),
    help: 'format of the image [raw]',
  },
  backing_files: { field: 'backing_files', kind: toggle, help: 'of qcow2: files that it stands on are opened [off]' },
  ...pciKeys,
  vhost_user: { field: 'vhost_user', kind: toggle },
  socket: { field: 'vhost_socket', kind: path },
  rate_limit_group: { field: 'rate_limit_group', kind: text, help: 'the --rate-limit-group that it belongs to [none]' },
  queue_affinity: { field: 'queue_affinity', kind: queueAffinity },
  lock_granularity: {
    field: 'lock_granularity',
    kind: choice({ full: 'Full', 'byte-range': 'ByteRange' }, 'full|byte-range'),
  },
  ...rateLimiterKeys,
}

export const netKeys: OptionKeys = {
  tap: { field: 'tap', kind: text, help: 'tap interface, made where it does not exist [a new one]' },
  ip: { field: 'ip', kind: text, help: "IPv4 address of the interface on the host's side [none]" },
  mask: { field: 'mask', kind: text, help: 'its network mask [255.255.255.0]' },
  mac: { field: 'mac', kind: text, help: 'MAC address of the card [random]' },
  host_mac: { field: 'host_mac', kind: text, help: 'MAC address of the tap interface [the kernel chooses]' },
  mtu: { field: 'mtu', kind: number, help: 'largest packet in bytes, 68 to 65535 [the interface has one]' },
  num_queues: { field: 'num_queues', kind: number, help: 'receive and transmit queues together, 2 to 512 [2]' },
  queue_size: { field: 'queue_size', kind: number, help: 'entries of a queue, a power of two, 2 to 32768 [256]' },
  id: { field: 'id', kind: text, help: 'name of the device [_netN]' },
  fd: { field: 'fds', kind: numberList, help: 'open descriptors of a tap, one for each pair of queues' },
  offload_tso: { field: 'offload_tso', kind: toggle, help: 'TCP segmentation offload [on]' },
  offload_ufo: { field: 'offload_ufo', kind: toggle, help: 'UDP fragmentation offload [on]' },
  offload_csum: { field: 'offload_csum', kind: toggle, help: 'checksum offload [on]' },
  ...pciKeys,
  vhost_user: { field: 'vhost_user', kind: toggle },
  socket: { field: 'vhost_socket', kind: path },
  vhost_mode: { field: 'vhost_mode', kind: choice({ client: 'Client', server: 'Server' }, 'client|server') },
  ...rateLimiterKeys,
}

export const rngKeys: OptionKeys = {
  src: { field: 'src', kind: path, help: 'where random bytes come from [/dev/urandom]' },
  ...pciKeys,
}

export const platformKeys: OptionKeys = {
  serial_number: { field: 'serial_number', kind: text, help: 'serial number of the machine' },
  uuid: { field: 'uuid', kind: text, help: 'UUID of the machine' },
  oem_strings: { field: 'oem_strings', kind: textList, help: 'strings for programs in the guest' },
  num_pci_segments: { field: 'num_pci_segments', kind: number },
  iommu_segments: { field: 'iommu_segments', kind: numberList },
  iommu_address_width: { field: 'iommu_address_width_bits', kind: number },
  tdx: { field: 'tdx', kind: toggle },
  sev_snp: { field: 'sev_snp', kind: toggle },
  iommufd: { field: 'iommufd', kind: toggle },
  vfio_p2p_dma: { field: 'vfio_p2p_dma', kind: toggle },
}

export const inspectKeys: OptionKeys = {
  component: { field: 'component', kind: text, help: 'one of the list' },
}

export const removeDeviceKeys: OptionKeys = {
  id: { field: 'id', kind: text, isRequired: true, help: 'of a disk or a network card' },
}

export const resizeDiskKeys: OptionKeys = {
  id: { field: 'id', kind: text, isRequired: true, help: 'of the disk' },
  size: { field: 'desired_size', kind: size, isRequired: true, help: 'what it has afterwards' },
}

export const coredumpKeys: OptionKeys = {
  destination_url: { field: 'destination_url', kind: path, isRequired: true, help: 'the file: file:///PATH or PATH' },
}

export const snapshotKeys: OptionKeys = {
  destination_url: {
    field: 'destination_url',
    kind: path,
    isRequired: true,
    help: 'the directory: file:///PATH or PATH',
  },
  memory: {
    field: 'memory_form',
    kind: choice({ image: 'Image', zstd: 'Zstd' }, 'image|zstd'),
    help: 'how memory is kept: image restores at once, zstd is small [image]',
  },
  level: { field: 'compression_level', kind: signed, help: 'of zstd, -7 to 19 [1]' },
  durability: {
    field: 'durability',
    kind: choice({ none: 'None', data: 'Data', full: 'Full' }, 'none|data|full'),
    help: 'what is on the disk before the snapshot has its name: nothing, its files, and the name, too [data]',
  },
  overwrite: { field: 'overwrite', kind: toggle, help: 'take the place of a snapshot that is there [off]' },
  parent: {
    field: 'parent_url',
    kind: path,
    help: 'a snapshot that the new one stands on: only what differs from it is kept',
  },
  live: { field: 'live', kind: toggle, help: 'the machine runs while its memory is saved [off]' },
  pause_limit: {
    field: 'pause_limit',
    kind: size,
    help: 'live: what is left is saved in the pause, more is write-protected [4M]',
  },
  disks: {
    field: 'disks',
    kind: choice({ copy: 'Copy', leave: 'Leave' }, 'copy|leave'),
    help: 'the disks that it writes to are saved with it, or not [leave]',
  },
}

const tscRateKey: OptionKey = {
  field: 'tsc_rate',
  kind: choice({ keep: 'Keep', host: 'Host' }, 'keep|host'),
  help: "of the guest's time stamp counters: as it was, or this host's [keep]",
}

export const restoreKeys: OptionKeys = {
  source_url: { field: 'source_url', kind: path, isRequired: true, help: 'the directory: file:///PATH or PATH' },
  memory_restore_mode: {
    field: 'memory_restore_mode',
    kind: choice(
      { copy: 'Copy', copyonwrite: 'CopyOnWrite', cow: 'CopyOnWrite', ondemand: 'OnDemand' },
      'copy|cow|ondemand',
    ),
    help: 'read all memory first, map it, or read and check each page as it is touched [cow where possible]',
  },
  prefetch: { field: 'prefetch', kind: toggle, help: 'ondemand: read first what the last one touched first [on]' },
  background_fill: { field: 'background_fill', kind: toggle, help: 'ondemand: read all the rest meanwhile [off]' },
  handler_socket: { field: 'handler_socket', kind: path, help: 'ondemand: another process has the pages' },
  prefault: { field: 'prefault', kind: toggle, help: 'have all memory present before it runs [off]' },
  resume: { field: 'resume', kind: toggle, help: 'it runs at once; otherwise it is paused where it was saved [off]' },
  clock: {
    field: 'clock',
    kind: choice({ continue: 'Continue', jump: 'Jump' }, 'continue|jump'),
    help: "the guest's clock goes on where it was, or jumps by the time since [continue]",
  },
  tsc_rate: tscRateKey,
  disks: {
    field: 'disks',
    kind: choice({ copy: 'Copy', leave: 'Leave' }, 'copy|leave'),
    help: 'copies of the disks that it writes to, as the snapshot has them, or those that are there [leave, if it has none]',
  },
  disk_directory: {
    field: 'disk_directory',
    kind: path,
    help: 'where copies stay, as ID.img [beside the disks, gone with the machine]',
  },
  net_fds: { field: 'net_fds', kind: cardDescriptors, help: 'open descriptors of taps, for cards that had theirs so' },
  vfio_fds: { field: 'vfio_fds', kind: text },
  iommufd_fd: { field: 'iommufd_fd', kind: number },
  zone_updates: { field: 'zone_updates', kind: text },
}

const peerTimeoutKey: OptionKey = {
  field: 'peer_timeout_ms',
  kind: number,
  help: 'a silent peer is gone after that [10000]',
}

export const sendMigrationKeys: OptionKeys = {
  destination_url: {
    field: 'destination_url',
    kind: path,
    isRequired: true,
    help: 'where the other side waits: tcp:HOST:PORT or unix:/PATH',
  },
  local: {
    field: 'local',
    kind: toggle,
    help: 'to a process of this host, which takes over memory, disks and taps [off]',
  },
  preserve_source: { field: 'preserve_source', kind: toggle, help: 'keep the machine here, too, paused [off]' },
  downtime_ms: { field: 'downtime_ms', kind: number, help: 'the longest that it may stand still [300]' },
  timeout_s: { field: 'timeout_s', kind: number, help: 'the longest that it may take [3600]' },
  timeout_strategy: {
    field: 'timeout_strategy',
    kind: choice({ cancel: 'Cancel', ignore: 'Ignore' }, 'cancel|ignore'),
    help: 'then: it stays here, or moves whatever the downtime [cancel]',
  },
  connections: { field: 'connections', kind: number, help: 'for memory, 1 to 128 [one a processor, at most 4]' },
  bandwidth: { field: 'bandwidth', kind: size, help: 'most bytes a second, 0: no limit [0]' },
  throttle: {
    field: 'throttle',
    kind: number,
    help: 'most percent that vCPUs may be slowed down by so that it comes to an end, 0 to 99 [99]',
  },
  delta_cache: {
    field: 'delta_cache',
    kind: size,
    help: 'memory that is kept to send changes only [an eighth of the RAM, at most 256M]',
  },
  peer_timeout_ms: peerTimeoutKey,
  resolve_timeout_s: {
    field: 'resolve_timeout_s',
    kind: number,
    help: 'how long a side that may have it is looked for [300]',
  },
  memory_mode: {
    field: 'memory_mode',
    kind: choice({ precopy: 'Precopy', auto: 'Auto', postcopy: 'Postcopy' }, 'precopy|auto|postcopy'),
    help: 'go on there with all memory, with a part where it is written too fast, or with none at first [precopy]',
  },
  wait: { field: 'wait', kind: toggle, help: 'until it has moved, or only until that has begun [on]' },
  tls_dir: {
    field: 'tls_dir',
    kind: path,
    help: 'over TLS, with ca-cert.pem, client-cert.pem and client-key.pem from there [no TLS]',
  },
}

export const receiveMigrationKeys: OptionKeys = {
  receiver_url: {
    field: 'receiver_url',
    kind: path,
    isRequired: true,
    help: 'where to wait: tcp:HOST:PORT or unix:/PATH',
  },
  tsc_rate: tscRateKey,
  peer_timeout_ms: peerTimeoutKey,
  resolve_timeout_s: {
    field: 'resolve_timeout_s',
    kind: number,
    help: 'how long a side that asks what became of it is answered [300]',
  },
  tls_dir: {
    field: 'tls_dir',
    kind: path,
    help: 'over TLS, with ca-cert.pem, server-cert.pem and server-key.pem from there [no TLS]',
  },
  memory_mode: {
    field: 'memory_mode',
    kind: choice({ precopy: 'Precopy', postcopy: 'Postcopy' }, 'precopy|postcopy'),
    help: 'for clients that name it: the other side decides [precopy]',
  },
  vfio_fds: { field: 'vfio_fds', kind: text },
  iommufd_fd: { field: 'iommufd_fd', kind: number },
  zone_updates: { field: 'zone_updates', kind: text },
}

export const resolveMigrationKeys: OptionKeys = {
  id: { field: 'id', kind: text, isRequired: true, help: 'of the migration, as the event and progress say it' },
  decision: {
    field: 'decision',
    kind: choice({ keep: 'Keep', discard: 'Discard' }, 'keep|discard'),
    isRequired: true,
    help: 'keep it: the other side has not got it and never will; or discard it: the other side has it',
  },
}

export const cloneKeys: OptionKeys = {
  count: { field: 'count', kind: number, isRequired: true, help: 'how many, 1 to 1000; each has a number, from 0' },
  disks: {
    field: 'disks',
    kind: choice({ copy: 'copy' }, 'copy'),
    help: 'copies of the disks that they write to, for each [each needs paths of its own]',
  },
  disk_directory: {
    field: 'diskDirectory',
    kind: path,
    help: 'where copies stay, as ID-NUMBER.img [beside the disks, gone with their clone]',
  },
}

export const eventMonitorKeys: OptionKeys = {
  path: { field: 'path', kind: path, help: 'a file or FIFO' },
  fd: { field: 'fd', kind: number, help: 'an open descriptor' },
}
