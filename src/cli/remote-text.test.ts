import test from 'ava'
import { describeAnswer } from './remote-text.ts'

test('counters are a table', t => {
  const counters = { _disk0: { read_bytes: 4096, read_ops: 1 }, _net1: { rx_bytes: 10 } }
  t.is(describeAnswer('counters', counters), '_disk0  read_bytes  4096\n_disk0  read_ops    1\n_net1   rx_bytes    10')
  t.is(describeAnswer('counters', {}), 'no device has counted anything')
})

test('components are a table, the state of one is JSON', t => {
  const components = [
    { name: 'vm', state: 'saved', schema: 'kvm-clock', version: 1 },
    { name: 'pci', state: 'stateless' },
    { name: 'fs', state: 'pinned', reason: 'it is the host\u2019s' },
  ]
  t.is(
    describeAnswer('inspect', { components }),
    ['vm   saved      kvm-clock 1', 'pci  stateless', 'fs   pinned     it is the host\u2019s'].join('\n'),
  )
  const one = { ...components[0], content: { nowNs: '0x10' } }
  t.is(describeAnswer('inspect', { components: [one] }), '{\n  "nowNs": "0x10"\n}')
})

test('a device that was added is told with where it is', t => {
  t.is(describeAnswer('add-disk', { id: '_disk1', bdf: '0000:00:05.0' }), '_disk1 at 0000:00:05.0')
  t.is(describeAnswer('add-net', { id: 'a\u001b', bdf: '0000:00:05.0' }), 'a? at 0000:00:05.0')
})

test('a machine with everything', t => {
  const info = {
    state: 'Running',
    memory_actual_size: 2 ** 30,
    config: {
      cpus: { boot_vcpus: 4 },
      payload: { kernel: 'k' },
      disks: [{ id: '_disk0', path: 'root.img', readonly: true }],
      net: [{ id: '_net1', tap: 'tap0' }],
    },
    device_tree: { a: { id: '_virtio-pci-_disk0', pci_bdf: '0000:00:01.0' }, b: { id: '_disk0' } },
  }
  t.is(
    describeAnswer('info', info),
    [
      ...['state   Running', 'vCPUs   4', 'memory  1024 MiB', 'kernel  k'],
      'disk    _disk0              root.img      read-only',
      'net     _net1               tap0',
      'device  _virtio-pci-_disk0  0000:00:01.0',
    ].join('\n'),
  )
})

test('names do not steer the terminal, and what has another form is JSON', t => {
  t.is(describeAnswer('counters', { 'a\u001b[2J': { n: 1 } }), 'a?[2J  n  1')
  t.is(describeAnswer('info', ['x']), '[\n  "x"\n]')
  t.notThrows(() => describeAnswer('info', {}))
})
