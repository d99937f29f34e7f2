import test from 'ava'
import { AcpiPciHotplug } from '../devices/acpi-pci-hotplug.ts'
import { stateless } from '../state/carried.ts'
import type { Component } from '../state/component.ts'
import { DeviceHotplug, type NewDevice, type PluggedDevice } from './hotplug.ts'
import { Machine } from './machine.ts'

type Verb = 'pause' | 'close'

/** A device that notes what is done to it, and may fail to do it or take its time. */
function aPlug(log: string[], id: string, slot: number, options: { failing?: Verb; held?: Promise<void> } = {}) {
  const part = (name: string): Component => {
    const note = async (verb: Verb) => {
      await options.held
      log.push(`${verb} ${name}`)
      if (options.failing === verb) throw new Error(`${name} does not ${verb}`)
    }
    return {
      ...{ name, state: stateless, resume: () => {}, reset: () => {} },
      pause: () => note('pause'),
      close: () => note('close'),
    }
  }
  const pciAddress = `0000:00:${slot.toString(16).padStart(2, '0')}.0`
  const resize = (sizeBytes: number) => log.push(`resize ${id} ${sizeBytes}`)
  return {
    device: { ...part(id), resize },
    transport: { ...part(`transport-${id}`), slot, pciAddress },
  } satisfies PluggedDevice
}

function aDisk(id: string, slot: number): NewDevice {
  const config = {
    ...{ path: id, readonly: false, direct: false, num_queues: 1, queue_size: 128, sparse: true },
    ...{ image_type: 'Raw' as const, backing_files: false },
  }
  return { list: 'disks', config: { ...config, id, pci_device_id: slot } }
}

function aHotplug() {
  const log: string[] = []
  const components = new Machine()
  const controller = new AcpiPciHotplug()
  const made = { failing: undefined as Verb | undefined, held: undefined as Promise<void> | undefined }
  const options = () => ({
    ...(made.failing === undefined ? {} : { failing: made.failing }),
    ...(made.held === undefined ? {} : { held: made.held }),
  })
  const hotplug = new DeviceHotplug({
    ...{ components, controller },
    notify: () => log.push('notify'),
    onRemoved: id => log.push(`removed ${id}`),
  })
  const first = aPlug(log, '_disk0', 1)
  components.add(first.device)
  components.add(first.transport)
  components.add(hotplug)
  const vcpu = aPlug(log, 'vcpu', 0).device
  components.add(vcpu)
  hotplug.begin([first], {
    make: async ({ config }) => {
      log.push(`make ${config.id}`)
      return aPlug(log, config.id ?? '', config.pci_device_id ?? 0, options())
    },
  })
  const names = () => components.components.map(({ name }) => name)
  const told = () => [controller.read(0, 4), controller.read(4, 4)]
  const eject = (slots: number) => controller.write(8, 4, slots)
  return { log, components, controller, made, hotplug, names, told, eject }
}

test('a device that comes stands before the vCPUs, and the guest is told where it is', async t => {
  const { log, hotplug, names, told } = aHotplug()
  t.deepEqual(await hotplug.add(aDisk('_disk1', 2)), { id: '_disk1', pciAddress: '0000:00:02.0' })
  t.deepEqual(log, ['make _disk1', 'notify'])
  t.deepEqual(names(), ['_disk0', 'transport-_disk0', '_disk1', 'transport-_disk1', '__device_hotplug', 'vcpu'])
  t.deepEqual(told(), [4, 0])
})

test('a device that comes to a paused machine is paused', async t => {
  const { log, hotplug, components } = aHotplug()
  await components.pause()
  log.length = 0
  await hotplug.add(aDisk('_disk1', 2))
  t.deepEqual(log, ['make _disk1', 'pause transport-_disk1', 'pause _disk1', 'notify'])
  components.resume()
  log.length = 0
  await hotplug.add(aDisk('_disk2', 3))
  t.deepEqual(log, ['make _disk2', 'notify'])
})

test('of a device that cannot come nothing is left', async t => {
  const { log, hotplug, components, made, names, told } = aHotplug()
  await components.pause()
  log.length = 0
  made.failing = 'pause'
  await t.throwsAsync(hotplug.add(aDisk('_disk1', 2)), { message: 'transport-_disk1 does not pause' })
  t.deepEqual(log.slice(-2), ['close transport-_disk1', 'close _disk1'])
  made.failing = undefined
  await t.throwsAsync(hotplug.add(aDisk('_disk0', 2)), { code: 'ERR_CONFIG_INVALID' })
  t.deepEqual(log.slice(-2), ['close transport-_disk0', 'close _disk0'])
  t.deepEqual(names(), ['_disk0', 'transport-_disk0', '__device_hotplug', 'vcpu'])
  t.deepEqual(told(), [0, 0])
})

test('a device that shall go is there until the guest ejects it', async t => {
  const { log, hotplug, controller, names, told, eject } = aHotplug()
  hotplug.remove('_disk0')
  t.deepEqual(log, ['notify'])
  t.deepEqual(told(), [0, 2])
  hotplug.remove('_disk0')
  t.deepEqual(told(), [0, 2], 'a guest that did not hear can be told again')
  t.true(names().includes('_disk0'))
  eject(2)
  t.deepEqual(names(), ['__device_hotplug', 'vcpu'], 'it is off the list at once')
  await hotplug.pause()
  t.deepEqual(log.slice(2), ['close transport-_disk0', 'close _disk0', 'removed _disk0'])
  t.deepEqual(controller.unwanted, [])
  t.throws(() => hotplug.remove('_disk0'), { code: 'ERR_DEVICE_UNKNOWN', message: 'there is no device _disk0' })
})

test('a guest may eject what nobody asked for, but for what belongs to the machine or is not there', async t => {
  const { log, hotplug, names, eject } = aHotplug()
  eject(0xffff_fffd)
  t.deepEqual(log, [])
  t.is(names().length, 4)
  eject(2)
  eject(2)
  await hotplug.pause()
  t.deepEqual(log, ['close transport-_disk0', 'close _disk0', 'removed _disk0'])
})

test('what cannot be removed says so', t => {
  const { hotplug, components } = aHotplug()
  const console = { ...aPlug([], '__console', 4).device, describe: () => [{ id: '__console' }] }
  components.add(console)
  const message = '__console cannot be removed: only disks and network cards can'
  t.throws(() => hotplug.remove('__console'), { code: 'ERR_DEVICE_FIXED', message })
  t.throws(() => hotplug.remove('vcpu'), { code: 'ERR_DEVICE_UNKNOWN' })
})

test('a disk is made larger by name', t => {
  const { hotplug, components, log } = aHotplug()
  hotplug.resize('_disk0', 4096)
  t.deepEqual(log, ['resize _disk0 4096'])
  components.add({ ...aPlug([], '__rng', 3).device, describe: () => [{ id: '__rng' }] })
  const message = '__rng cannot be resized: only disks can be'
  t.throws(() => hotplug.resize('__rng', 4096), { code: 'ERR_DEVICE_SIZE', message })
  t.throws(() => hotplug.resize('_disk7', 4096), { code: 'ERR_DEVICE_UNKNOWN' })
})

test('a pause, a device that comes and the end wait for what is on its way out', async t => {
  for (const what of ['pause', 'add', 'close'] as const) {
    const { log, hotplug, made, eject } = aHotplug()
    const held = Promise.withResolvers<void>()
    made.held = held.promise
    await hotplug.add(aDisk('_disk1', 2))
    made.held = undefined
    eject(4)
    log.length = 0
    const waiting = what === 'add' ? hotplug.add(aDisk('_disk1', 2)) : hotplug[what]()
    await new Promise(resolve => setImmediate(resolve))
    t.deepEqual(log, [], what)
    held.resolve()
    await waiting
    t.deepEqual(log.slice(0, 3), ['close transport-_disk1', 'close _disk1', 'removed _disk1'], what)
  }
})

test('a reset finishes what the guest was asked for', async t => {
  const { log, hotplug, names, eject } = aHotplug()
  await hotplug.add(aDisk('_disk1', 2))
  await hotplug.add(aDisk('_disk2', 3))
  for (const id of ['_disk0', '_disk2']) hotplug.remove(id)
  eject(2)
  await hotplug.finishRemovals()
  t.deepEqual(names(), ['_disk1', 'transport-_disk1', '__device_hotplug', 'vcpu'])
  t.deepEqual(
    log.filter(line => line.startsWith('removed')),
    ['removed _disk0', 'removed _disk2'],
  )
  await hotplug.finishRemovals()
})

test('a device that fails to close is gone all the same, and that it failed is not hidden', async t => {
  const { log, hotplug, made, eject } = aHotplug()
  made.failing = 'close'
  await hotplug.add(aDisk('_disk1', 2))
  const warned = new Promise<Error>(resolve => process.once('warning', resolve))
  eject(4)
  await hotplug.pause()
  t.is((await warned).message, 'transport-_disk1 does not close')
  t.deepEqual(log.slice(-3), ['close transport-_disk1', 'close _disk1', 'removed _disk1'])
})
