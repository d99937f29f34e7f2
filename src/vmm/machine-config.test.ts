import test from 'ava'
import { settled } from '../config/settle.ts'
import { parseVmConfig, type VmConfigInput } from '../config/vm-config.ts'
import { MachineConfig } from './machine-config.ts'

function aConfig(parts: Omit<VmConfigInput, 'payload'> = {}) {
  return new MachineConfig(settled(parseVmConfig({ payload: { kernel: 'k' }, console: { mode: 'Off' }, ...parts })))
}

test('a device that comes has a name and a slot of its own, and a card an address', t => {
  const config = aConfig({ disks: [{ path: 'a' }], net: [{}] })
  const disk = config.plan('disks', { path: 'b' })
  t.like(disk, { list: 'disks', config: { path: 'b', id: '_disk2', pci_device_id: 4, queue_size: 128 } })
  t.is(config.current.disks.length, 1, 'it has not come yet')
  config.add(disk)
  const card = config.plan('net', { tap: 'tap9' })
  t.like(card, { list: 'net', config: { tap: 'tap9', id: '_net3', pci_device_id: 5 } })
  t.regex(card.list === 'net' ? (card.config.mac ?? '') : '', /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/)
  config.add(card)
  t.deepEqual(parseVmConfig(config.current), config.current)
})

test('the slot of what has gone is free, its name is not given again', t => {
  const config = aConfig({ disks: [{ path: 'a' }, { path: 'b' }] })
  config.remove('_disk0')
  t.like(config.plan('disks', { path: 'a' }), { config: { id: '_disk2', pci_device_id: 1 } })
  config.remove('_disk1')
  t.like(config.plan('disks', { path: 'b' }), { config: { id: '_disk3', pci_device_id: 1 } })
  t.deepEqual(config.current.disks, [])
})

test('a device that does not fit beside the others is refused as in a configuration', t => {
  const config = aConfig({ disks: [{ path: 'a', id: 'root' }], net: [{ tap: 'tap0' }] })
  const conflict = (list: 'disks' | 'net', device: object, message: string) => {
    const error = t.throws(() => config.plan(list, device), { code: 'ERR_CONFIG_INVALID', message })
    t.true(error instanceof Error && 'details' in error && Object(error.details)['conflict'] === 1, message)
  }
  conflict('disks', { path: 'b', id: 'root' }, '--disk: id: root is there twice')
  conflict('disks', { path: 'a' }, '--disk: path: a is there twice, which only readonly=on on both allows')
  conflict('net', { tap: 'tap0' }, '--net: tap: tap0 is there twice')
  conflict('net', { id: 'root' }, '--net: id: root is there twice')
  conflict('disks', { path: 'b', pci_device_id: 1 }, '--disk: pci_device_id: 1 is taken by a device of --disk')
  t.throws(() => config.plan('disks', {}), { code: 'ERR_CONFIG_INVALID', message: '--disk: path: is missing' })
  t.throws(() => config.plan('net', { vhost_user: true }), { message: '--net: vhost_user: is not supported yet' })
  t.throws(() => config.plan('net', null), { code: 'ERR_CONFIG_INVALID' })
})

test('devices come until no slot is left', t => {
  const config = aConfig()
  for (let count = 0; count < 30; count += 1) config.add(config.plan('disks', { path: `${count}` }))
  const message = 'no PCI slots left: a segment has 31 for devices'
  t.throws(() => config.plan('net', {}), { code: 'ERR_RESOURCE_EXHAUSTED', message })
  config.remove('_disk7')
  t.like(config.plan('net', {}), { config: { pci_device_id: 9 } })
})
