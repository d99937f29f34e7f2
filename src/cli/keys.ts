import type { OptionKeys } from './options.ts'

/** The keys of each option with structure: names and meanings are Cloud Hypervisor's. */

export const cpusKeys: OptionKeys = {
  boot: { field: 'boot_vcpus', kind: 'number', help: 'vCPUs at boot, 1 to 254 [1]' },
  max: { field: 'max_vcpus', kind: 'number', help: 'most vCPUs; must equal boot today' },
  topology: { field: 'topology', kind: 'topology', help: 'threads:cores:dies:packages' },
  max_phys_bits: { field: 'max_phys_bits', kind: 'number', help: 'most physical address bits [46]' },
  affinity: { field: 'affinity', kind: 'affinity', help: 'host CPUs of vCPUs: [0@[2,3],1@[4-7]]' },
  features: { field: 'features', kind: 'words', help: 'amx' },
  nested: { field: 'nested', kind: 'switch', help: 'whether the guest may virtualize [on]' },
}

export const memoryKeys: OptionKeys = {
  size: { field: 'size', kind: 'size', help: 'guest RAM [512M]' },
  mergeable: { field: 'mergeable', kind: 'switch', help: 'let the host merge equal pages [off]' },
  shared: { field: 'shared', kind: 'switch', help: 'memory other processes can map [off]' },
  hugepages: { field: 'hugepages', kind: 'switch', help: 'huge pages reserved on the host [off]' },
  hugepage_size: { field: 'hugepage_size', kind: 'size', help: '2M or 1G [2M]' },
  prefault: { field: 'prefault', kind: 'switch', help: 'touch all pages at start [off]' },
  thp: { field: 'thp', kind: 'switch', help: 'transparent huge pages [on]' },
  reserve: { field: 'reserve', kind: 'switch', help: 'let the host account for all of it at once [on]' },
}

export const diskKeys: OptionKeys = {
  path: { field: 'path', kind: 'text', help: 'a raw image or block device' },
  readonly: { field: 'readonly', kind: 'switch', help: 'the guest cannot write [off]' },
  direct: { field: 'direct', kind: 'switch', help: "bypass the host's page cache [off]" },
  num_queues: { field: 'num_queues', kind: 'number', help: 'request queues, a thread each [1]' },
  queue_size: { field: 'queue_size', kind: 'number', help: 'entries of each, a power of two [128]' },
  id: { field: 'id', kind: 'text', help: 'name of the device [_diskN]' },
  serial: { field: 'serial', kind: 'text', help: 'serial number, at most 20 bytes' },
  sparse: { field: 'sparse', kind: 'switch', help: 'give discarded blocks back to the host [on]' },
  image_type: { field: 'image_type', kind: 'text', help: 'raw [raw]' },
}

export const netKeys: OptionKeys = {
  tap: { field: 'tap', kind: 'text', help: 'tap interface, made where there is none' },
  ip: { field: 'ip', kind: 'text', help: "IPv4 address of the host's side" },
  mask: { field: 'mask', kind: 'text', help: 'its mask [255.255.255.0]' },
  mac: { field: 'mac', kind: 'text', help: "the guest's MAC address [random]" },
  host_mac: { field: 'host_mac', kind: 'text', help: "MAC address of the host's side" },
  mtu: { field: 'mtu', kind: 'number', help: 'largest packet, 68 to 65535' },
  num_queues: { field: 'num_queues', kind: 'number', help: 'receive and transmit queues together [2]' },
  queue_size: { field: 'queue_size', kind: 'number', help: 'entries of each, a power of two [256]' },
  id: { field: 'id', kind: 'text', help: 'name of the device [_netN]' },
  fd: { field: 'fds', kind: 'numbers', help: 'descriptors of open tap queues, one a pair' },
  offload_tso: { field: 'offload_tso', kind: 'switch', help: 'segmentation offload [on]' },
  offload_ufo: { field: 'offload_ufo', kind: 'switch', help: 'UDP fragmentation offload [on]' },
  offload_csum: { field: 'offload_csum', kind: 'switch', help: 'checksum offload [on]' },
}

export const rngKeys: OptionKeys = {
  src: { field: 'src', kind: 'text', help: 'where random bytes come from [/dev/urandom]' },
}

export const platformKeys: OptionKeys = {
  serial_number: { field: 'serial_number', kind: 'text', help: 'serial number of the machine' },
  uuid: { field: 'uuid', kind: 'text', help: 'UUID of the machine' },
  oem_strings: { field: 'oem_strings', kind: 'words', help: 'strings for programs in the guest: [a,b]' },
}
