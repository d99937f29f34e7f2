import { mkdtempSync, readdirSync, readlinkSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { settled } from '../config/settle.ts'
import { parseVmConfig, type VmConfig } from '../config/vm-config.ts'
import { loadAll, saveAll } from '../state/walk.ts'
import { buildMachine } from './build.ts'
import { unheard } from './testing/unheard.ts'

function aDisk(t: ExecutionContext): string {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-hotplug-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const path = join(place, 'disk')
  writeFileSync(path, '')
  truncateSync(path, 1024 * 1024)
  return path
}

function aConfig(disks: readonly { readonly path: string; readonly pci_device_id?: number }[]): VmConfig {
  const memory = { size: 64 * 1024 * 1024 }
  return settled(
    parseVmConfig({ payload: { kernel: '/nowhere' }, memory, disks: [...disks], console: { mode: 'Off' } }),
  )
}

async function aMachine(t: ExecutionContext, config: VmConfig, events = unheard) {
  const machine = await buildMachine(config, events)
  t.teardown(() => machine.components.close())
  return machine
}

function newDisk(path: string, slot: number) {
  const [disk] = settled(parseVmConfig({ payload: { kernel: 'k' }, disks: [{ path, id: 'new' }] })).disks
  if (disk === undefined) throw new Error('no disk')
  return { list: 'disks', config: { ...disk, pci_device_id: slot } } as const
}

/** How many descriptors of a file are open in this process, which runs other tests as well. */
function descriptorsOf(path: string): number {
  const target = (fd: string) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  }
  return readdirSync('/proc/self/fd').filter(fd => target(fd) === path).length
}

test.serial('a disk comes and goes, and gives back all that it had of the host', async t => {
  const [first, second] = [aDisk(t), aDisk(t)]
  const removed: string[] = []
  const machine = await aMachine(t, aConfig([{ path: first }]), { ...unheard, deviceRemoved: id => removed.push(id) })
  const names = machine.components.components.map(({ name }) => name)
  for (const slot of [3, 31]) {
    t.deepEqual(await machine.hotplug.add(newDisk(second, slot)), {
      ...{ id: 'new', pciAddress: `0000:00:${slot.toString(16).padStart(2, '0')}.0` },
    })
    t.true(descriptorsOf(second) > 0)
    machine.hotplug.remove('new')
    await machine.hotplug.finishRemovals()
    t.is(descriptorsOf(second), 0)
  }
  t.deepEqual(removed, ['new', 'new'])
  t.deepEqual(
    machine.components.components.map(({ name }) => name),
    names,
  )
})

test.serial('a disk that cannot be had leaves nothing', async t => {
  const first = aDisk(t)
  const second = aDisk(t)
  const machine = await aMachine(t, aConfig([{ path: first }]))
  const descriptors = descriptorsOf(first)
  await t.throwsAsync(machine.hotplug.add(newDisk('/nowhere', 3)), { code: 'ERR_DISK' })
  await t.throwsAsync(machine.hotplug.add(newDisk(first, 3)), { code: 'ERR_DISK_LOCKED' })
  await t.throwsAsync(machine.hotplug.add(newDisk(second, 1)), { message: 'slot 1 of __pci0 is taken' })
  t.is(descriptorsOf(first), descriptors)
  t.is(descriptorsOf(second), 0)
  t.notThrows(() => machine.components.resume())
})

test.serial('a machine built of what is there after changes has all of it in its place', async t => {
  const [first, second, third] = [aDisk(t), aDisk(t), aDisk(t)]
  const machine = await aMachine(t, aConfig([{ path: first }, { path: second }]))
  machine.hotplug.remove('_disk0')
  await machine.hotplug.finishRemovals()
  const disk = newDisk(third, 4)
  await machine.hotplug.add(disk)
  machine.hotplug.remove('_disk1')
  await machine.components.pause()
  const records = saveAll(machine.components.components)
  await machine.components.close()
  const config = aConfig([{ path: second, pci_device_id: 2 }])
  const [left] = config.disks
  if (left === undefined) return t.fail()
  const other = await aMachine(t, {
    ...config,
    rng: { ...config.rng, pci_device_id: 3 },
    disks: [{ ...left, id: '_disk1' }, disk.config],
  })
  await other.components.pause()
  loadAll(other.components.components, records)
  const again = saveAll(other.components.components)
  t.is(again.length, records.length)
  for (const { component, body } of records) {
    t.deepEqual(again.find(record => record.component === component)?.body, body, component)
  }
  await other.hotplug.finishRemovals()
  t.deepEqual(
    other.components.describe().flatMap(({ id, pciAddress }) => (pciAddress === undefined ? [] : [[id, pciAddress]])),
    [
      ['_virtio-pci-new', '0000:00:04.0'],
      ['_virtio-pci-__rng', '0000:00:03.0'],
    ],
  )
})
