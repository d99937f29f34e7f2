import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { withSlots } from './pci-slots.ts'
import { parseVmConfig, type VmConfigInput } from './vm-config.ts'

function slotsOf(parts: Omit<VmConfigInput, 'payload'>) {
  const { console, disks, net, rng } = withSlots(parseVmConfig({ payload: { kernel: 'k' }, ...parts }))
  return {
    console: console.pci_device_id,
    disks: disks.map(disk => disk.pci_device_id),
    net: net.map(card => card.pci_device_id),
    rng: rng.pci_device_id,
  }
}

function refuses(t: ExecutionContext, parts: Omit<VmConfigInput, 'payload'>, message: string): void {
  t.throws(() => parseVmConfig({ payload: { kernel: 'k' }, ...parts }), { code: 'ERR_CONFIG_INVALID', message })
}

test("devices get slots in Cloud Hypervisor's order: console, disks, cards, random source", t => {
  const parts = { disks: [{ path: 'a' }, { path: 'b' }], net: [{}] }
  t.deepEqual(slotsOf(parts), { console: 1, disks: [2, 3], net: [4], rng: 5 })
  t.deepEqual(slotsOf({ ...parts, console: { mode: 'Off' } }), { console: undefined, disks: [1, 2], net: [3], rng: 4 })
})

test('a slot that is asked for is given, and left free by the others', t => {
  const slots = slotsOf({ disks: [{ path: 'a' }, { path: 'b', pci_device_id: 1 }], rng: { pci_device_id: 31 } })
  t.deepEqual(slots, { console: 2, disks: [3, 1], net: [], rng: 31 })
})

test('what has slots keeps them', t => {
  const config = withSlots(parseVmConfig({ payload: { kernel: 'k' }, disks: [{ path: 'a' }], net: [{}] }))
  t.deepEqual(withSlots({ ...config, disks: [] }), { ...config, disks: [] })
})

test('a slot is asked for once, and is one of those that a segment has', t => {
  const disks = [{ path: 'a', pci_device_id: 3 }]
  refuses(t, { disks, net: [{ pci_device_id: 3 }] }, '--net: pci_device_id: 3 is taken by a device of --disk')
  refuses(t, { disks: [{ path: 'a', pci_device_id: 0 }] }, '--disk: pci_device_id: 0 is not in 1..31')
  refuses(t, { rng: { pci_device_id: 32 } }, '--rng: pci_device_id: 32 is not in 1..31')
  refuses(
    t,
    { disks, console: { mode: 'Tty', pci_device_id: 3 } },
    '--disk: pci_device_id: 3 is taken by a device of --console',
  )
  t.notThrows(() => slotsOf({ disks, console: { mode: 'Off', pci_device_id: 3 } }))
})

test('as many devices fit as there are slots', t => {
  const disks = (count: number) => Array.from({ length: count }, (_, index) => ({ path: `${index}`, readonly: true }))
  t.is(slotsOf({ disks: disks(29) }).rng, 31)
  const message = 'no PCI slots left: a segment has 31 for devices'
  t.throws(() => slotsOf({ disks: disks(30) }), { code: 'ERR_RESOURCE_EXHAUSTED', message })
})

test('every device has a slot of its own, whichever are asked for', t => {
  const wanted = fc.uniqueArray(fc.integer({ min: 1, max: 31 }), { maxLength: 15 })
  const holds = fc.property(wanted, fc.nat({ max: 10 }), (slots, others) => {
    const disks = Array.from({ length: slots.length + others }, (_, index) => {
      const slot = slots[index]
      return { path: `${index}`, readonly: true, ...(slot === undefined ? {} : { pci_device_id: slot }) }
    })
    const given = slotsOf({ disks })
    const all = [given.console, ...given.disks, given.rng]
    return new Set(all).size === all.length && all.every(slot => slot !== undefined && slot >= 1 && slot <= 31)
  })
  t.notThrows(() => fc.assert(holds))
})
