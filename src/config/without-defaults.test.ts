import test from 'ava'
import fc from 'fast-check'
import { settled } from './settle.ts'
import { parseVmConfig, type VmConfigInput } from './vm-config.ts'
import { withoutDefaults } from './without-defaults.ts'

test('what is a default is not said, and all of it comes back', t => {
  const input: VmConfigInput = {
    payload: { kernel: 'k' },
    cpus: { boot_vcpus: 2, max_phys_bits: 46 },
    memory: { size: 2 ** 30, thp: true, shared: true },
    disks: [
      { path: 'a', readonly: false },
      { path: 'b', num_queues: 2, image_type: 'Unknown' },
    ],
    serial: { mode: 'Null' },
    console: { mode: 'Off' },
  }
  const config = settled(parseVmConfig(input))
  const said = withoutDefaults(config)
  t.deepEqual(said, {
    cpus: { boot_vcpus: 2 },
    memory: { size: 2 ** 30, shared: true },
    payload: { kernel: 'k' },
    disks: [
      { path: 'a', id: '_disk0', pci_device_id: 1 },
      { path: 'b', num_queues: 2, id: '_disk1', image_type: 'Unknown', pci_device_id: 2 },
    ],
    rng: { pci_device_id: 3 },
    console: { mode: 'Off' },
  })
  t.deepEqual(parseVmConfig(said), config)
})

test('whatever the configuration is, nothing of it is lost', t => {
  const disk = fc.record(
    {
      path: fc.constantFrom('a', 'b'),
      readonly: fc.boolean(),
      num_queues: fc.integer({ min: 1, max: 4 }),
      serial: fc.string({ maxLength: 8 }),
    },
    { requiredKeys: ['path'] },
  )
  const input = fc.record(
    {
      payload: fc.constant({ kernel: 'k' }),
      cpus: fc.record({ boot_vcpus: fc.integer({ min: 1, max: 4 }), nested: fc.boolean() }, { requiredKeys: [] }),
      memory: fc.record({ shared: fc.boolean(), prefault: fc.boolean() }, { requiredKeys: [] }),
      disks: fc.uniqueArray(disk, { selector: ({ path }) => path, maxLength: 2 }),
      platform: fc.record({ oem_strings: fc.array(fc.constantFrom('x', 'y'), { maxLength: 2 }) }, { requiredKeys: [] }),
    },
    { requiredKeys: ['payload'] },
  )
  fc.assert(
    fc.property(input, given => {
      const config = settled(parseVmConfig(given))
      t.deepEqual(parseVmConfig(withoutDefaults(config)), config)
    }),
  )
})
