import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import { parseVmConfig } from '../config/vm-config.ts'
import { TsvmmError } from '../util/errors.ts'
import { judgeVmm, type VmmRequest, type VmmState } from './requests.ts'
import { FakeMachines, type FakeStep } from './testing/fake-machine.ts'
import type { Vm } from './vm.ts'
import { Vmm, type VmmOptions } from './vmm.ts'

const config = { payload: { kernel: 'k' }, disks: [{ path: 'd' }] }

function aVmm(options: VmmOptions = {}) {
  const machines = new FakeMachines()
  const vmm = new Vmm({ createVm: machines.createVm, ...options })
  const events: string[] = []
  vmm.on('event', ({ source, event }) => events.push(`${source}:${event}`))
  return { vmm, machines, events }
}

/** A machine that is not the VMM's yet. */
function madeBy(machines: FakeMachines): Promise<Vm> {
  return machines.createVm(parseVmConfig(config), { signal: new AbortController().signal })
}

async function until(condition: () => boolean): Promise<void> {
  for (let turns = 0; turns < 1000; turns += 1) {
    if (condition()) return
    await turn()
  }
  throw new Error('it never came')
}

test('a machine from its configuration to its end, and again', async t => {
  const { vmm, machines, events } = aVmm()
  t.is(vmm.state, 'absent')
  await vmm.create(config)
  t.is(vmm.state, 'created')
  t.is(vmm.info().state, 'Created')
  t.deepEqual(machines.steps, [], 'nothing of the host is taken before boot')
  await vmm.boot()
  t.is(vmm.info().state, 'Running')
  await vmm.pause()
  t.is(vmm.info().state, 'Paused')
  await vmm.resume()
  await vmm.pause()
  await vmm.boot()
  t.is(vmm.state, 'running', 'booting a paused machine resumes it')
  await vmm.reboot()
  await vmm.powerButton()
  await vmm.nmi()
  await vmm.shutdown()
  t.is(vmm.info().state, 'Created')
  await vmm.boot()
  await vmm.delete()
  t.is(vmm.state, 'absent')
  await vmm.delete()
  await vmm.create(config)
  await vmm.close()
  t.deepEqual(await vmm.wait(), { kind: 'closed' })
  t.deepEqual(events, [
    ...['vm:booting', 'vm:booted', 'vm:pausing', 'vm:paused', 'vm:resuming', 'vm:resumed', 'vm:pausing', 'vm:paused'],
    ...['vm:resuming', 'vm:resumed', 'vm:rebooting', 'vm:rebooted', 'vm:shutdown', 'vm:booting', 'vm:booted'],
    ...['vm:shutdown', 'vm:deleted', 'vm:deleted', 'vmm:shutdown'],
  ])
})

test('information names every field that clients count on', async t => {
  const { vmm } = aVmm()
  t.throws(() => vmm.info(), { code: 'ERR_VM_NOT_CREATED' })
  t.throws(() => vmm.counters(), { code: 'ERR_VM_NOT_RUNNING' })
  await vmm.create({ ...config, cpus: { boot_vcpus: 3 } })
  t.throws(() => vmm.counters(), { code: 'ERR_VM_NOT_RUNNING' })
  t.like(vmm.info(), { memory_actual_size: 512 * 1024 * 1024, config: { cpus: { boot_vcpus: 3, max_vcpus: 3 } } })
  t.false('device_tree' in vmm.info())
  await vmm.boot()
  t.deepEqual(vmm.info().device_tree, {
    '_virtio-pci-_disk0': {
      ...{ id: '_virtio-pci-_disk0', resources: [], children: ['_disk0'], pci_bdf: '0000:00:02.0' },
    },
    _disk0: { id: '_disk0', resources: [], parent: '_virtio-pci-_disk0', children: [] },
  })
  t.deepEqual(vmm.counters(), { _disk0: { read_bytes: 4096n, read_ops: 1n } })
  await vmm.close()
})

test('information says where clients find a pseudo terminal while there is one', async t => {
  const { vmm } = aVmm()
  await vmm.create({ ...config, serial: { mode: 'Pty', file: '/dev/pts/7' } })
  t.deepEqual(vmm.info().config.serial, { mode: 'Pty' })
  await vmm.boot()
  t.deepEqual(vmm.info().config.serial, { mode: 'Pty', file: '/dev/pts/0' })
  await vmm.shutdown()
  t.deepEqual(vmm.info().config.serial, { mode: 'Pty' })
  await vmm.close()
})

test('a machine that does not run can be given other devices', async t => {
  const { vmm, machines } = aVmm()
  const add = (path: string) => vmm.addDevice('disks', { path })
  await t.throwsAsync(add('e'), { code: 'ERR_VM_NOT_CREATED' })
  await vmm.create({ ...config, net: [{}] })
  t.is(await add('e'), undefined, 'it is nowhere yet')
  t.deepEqual(
    vmm.info().config.disks.map(({ id, path }) => [id, path]),
    [
      ['_disk0', 'd'],
      ['_disk1', 'e'],
    ],
  )
  t.is(vmm.info().config.net[0]?.id, '_net2', 'named as if it had been there from the start')
  await t.throwsAsync(add('d'), { code: 'ERR_CONFIG_INVALID' })
  t.is(vmm.info().config.disks.length, 2, 'a bad change changes nothing')
  await vmm.removeDevice('_disk0')
  await t.throwsAsync(vmm.removeDevice('_disk1'), { code: 'ERR_DEVICE_UNKNOWN' })
  await vmm.boot()
  t.deepEqual(
    machines.configs[0]?.disks.map(({ id, path }) => [id, path]),
    [['_disk0', 'e']],
  )
  await vmm.close()
})

test('a machine that runs or is paused can be given other devices, and has them when it boots again', async t => {
  const { vmm, machines, events } = aVmm()
  await vmm.create(config)
  await vmm.boot()
  t.deepEqual(await vmm.addDevice('disks', { path: 'e' }), { id: '_disk1', pciAddress: '0000:00:04.0' })
  await vmm.pause()
  t.deepEqual(await vmm.addDevice('net', {}), { id: '_net2', pciAddress: '0000:00:05.0' })
  t.is(vmm.info().device_tree?.['_virtio-pci-_net2']?.pci_bdf, '0000:00:05.0')
  await vmm.removeDevice('_disk0')
  t.is(vmm.info().config.disks[0]?.id, '_disk0', 'it is there until the guest gives it up')
  await vmm.resume()
  machines.controller.onEject(2)
  await until(() => events.includes('vm:device-removed'))
  t.false('_disk0' in (vmm.info().device_tree ?? {}))
  const mac = vmm.info().config.net[0]?.mac
  await vmm.shutdown()
  await vmm.boot()
  const { disks, net } = vmm.info().config
  t.deepEqual(
    [...disks, ...net].map(({ id, pci_device_id: slot }) => [id, slot]),
    [
      ['_disk1', 4],
      ['_net2', 5],
    ],
  )
  t.is(net[0]?.mac, mac)
  await vmm.close()
  t.deepEqual(
    events.filter(event => event.includes('device')),
    ['vm:device-added', 'vm:device-added', 'vm:device-removed'],
  )
})

const states: readonly VmmState[] = ['absent', 'created', 'running', 'paused']
const requests = {
  create: (vmm: Vmm) => vmm.create(config),
  'add-device': (vmm: Vmm) => vmm.addDevice('disks', { path: 'e' }),
  'remove-device': (vmm: Vmm) => vmm.removeDevice('_disk0'),
  'resize-disk': (vmm: Vmm) => vmm.resizeDisk('_disk0', 1024),
  boot: (vmm: Vmm) => vmm.boot(),
  pause: (vmm: Vmm) => vmm.pause(),
  resume: (vmm: Vmm) => vmm.resume(),
  reboot: (vmm: Vmm) => vmm.reboot(),
  shutdown: (vmm: Vmm) => vmm.shutdown(),
  'power-button': (vmm: Vmm) => vmm.powerButton(),
  nmi: (vmm: Vmm) => vmm.nmi(),
  snapshot: (vmm: Vmm) => vmm.snapshot('/nowhere/at/all'),
  inspect: (vmm: Vmm) => vmm.inspect('fake'),
  coredump: (vmm: Vmm) => vmm.coredump('/nowhere/at/all'),
  restore: (vmm: Vmm) => vmm.restore('/nowhere/at/all'),
  'send-migration': (vmm: Vmm) => vmm.sendMigration('unix:/nowhere/at/all'),
  'receive-migration': (vmm: Vmm) => vmm.receiveMigration('unix:/nowhere/at/all'),
  delete: (vmm: Vmm) => vmm.delete(),
} satisfies Record<VmmRequest, (vmm: Vmm) => Promise<unknown>>

async function aVmmIn(state: VmmState) {
  const made = aVmm()
  if (state !== 'absent') await made.vmm.create(config)
  if (state === 'running' || state === 'paused') await made.vmm.boot()
  if (state === 'paused') await made.vmm.pause()
  return made
}

test('a request that does not fit is refused and changes nothing', async t => {
  for (const state of states) {
    for (const request of [
      'create',
      'add-device',
      'remove-device',
      'resize-disk',
      'boot',
      'pause',
      'resume',
      'reboot',
      'shutdown',
      'nmi',
      'inspect',
      'delete',
    ] as const) {
      const { vmm, machines } = await aVmmIn(state)
      const before = machines.steps.length
      const verdict = judgeVmm(request, state)
      const outcome = await requests[request](vmm).then(
        () => undefined,
        (error: unknown) => error,
      )
      if (verdict === 'accept' || verdict === 'already') t.is(outcome, undefined, `${request} while ${state}`)
      else {
        t.is(outcome instanceof TsvmmError && outcome.code, verdict === 'deny' ? 'ERR_VM_STATE' : verdict)
        t.is(vmm.state, state, `${request} while ${state}`)
        t.is(machines.steps.length, before)
      }
      await vmm.close()
    }
  }
})

/** What fails, in which request, from which state; which state is left. */
const failures: readonly [FakeStep, keyof typeof requests, VmmState][] = [
  ['build', 'boot', 'created'],
  ['load', 'boot', 'created'],
  ['resume', 'boot', 'created'],
  ['pause', 'pause', 'running'],
  ['resume', 'resume', 'paused'],
  ['pause', 'reboot', 'running'],
]

for (const [step, request, state] of failures) {
  test(`${request} whose ${step} fails leaves the machine ${state}`, async t => {
    const { vmm, machines } = await aVmmIn(state)
    machines.failing.add(step)
    await t.throwsAsync(requests[request](vmm), { message: `${step} fails` })
    t.is(vmm.state, state)
    machines.failing.clear()
    await requests[request](vmm)
    await vmm.close()
    const count = (name: FakeStep) => machines.steps.filter(each => each === name).length
    t.is(count('close'), count('build'), 'whatever was built is closed')
  })
}

test('a machine whose components do not all go on stays at rest', async t => {
  const { vmm, machines } = await aVmmIn('paused')
  machines.failing.add('resume')
  await t.throwsAsync(vmm.resume())
  t.is(machines.steps.at(-1), 'pause')
  await vmm.close()
})

test('a machine that cannot give everything back is gone all the same', async t => {
  const { vmm, machines, events } = await aVmmIn('running')
  machines.failing.add('close')
  await t.throwsAsync(vmm.shutdown(), { message: 'close fails' })
  t.is(vmm.info().state, 'Created')
  t.is(events.at(-1), 'vm:shutdown')
  await vmm.boot()
  await t.throwsAsync(vmm.close(), { message: 'close fails' })
  t.deepEqual(await vmm.wait(), { kind: 'closed' })
})

test('a bad configuration leaves no machine', async t => {
  const { vmm } = aVmm()
  await t.throwsAsync(vmm.create({ payload: {} }), { code: 'ERR_CONFIG_INVALID' })
  t.is(vmm.state, 'absent')
})

test('changes are carried out in the order they come, reads at any time', async t => {
  const { vmm, machines, events } = aVmm()
  const gate = Promise.withResolvers<void>()
  machines.delay = gate.promise
  const done: string[] = []
  const all = [
    vmm.create(config).then(() => done.push('create')),
    vmm.boot().then(() => done.push('boot')),
    vmm.pause().then(() => done.push('pause')),
    vmm.resume().then(() => done.push('resume')),
  ]
  await until(() => events.includes('vm:booting'))
  t.is(vmm.info().state, 'Created')
  t.deepEqual(done, ['create'])
  gate.resolve()
  await Promise.all(all)
  t.deepEqual(done, ['create', 'boot', 'pause', 'resume'])
  await vmm.close()
})

test("the guest's power-off ends the VMM", async t => {
  const { vmm, machines, events } = await aVmmIn('running')
  machines.events?.powerOff()
  t.deepEqual(await vmm.wait(), { kind: 'power-off' })
  t.deepEqual(events.slice(-2), ['vm:shutdown', 'vmm:shutdown'])
  await t.throwsAsync(vmm.boot(), { code: 'ERR_ABORTED' })
  t.deepEqual(machines.steps.at(-1), 'close')
})

test('or leaves a machine that can boot again', async t => {
  const { vmm, machines, events } = aVmm({ outlivesVm: true })
  await vmm.create(config)
  await vmm.boot()
  machines.events?.powerOff()
  await until(() => events.includes('vm:shutdown'))
  t.is(vmm.info().state, 'Created')
  await vmm.boot()
  t.is(vmm.info().state, 'Running')
  await vmm.close()
})

test('a reboot that cannot load the kernel ends the machine with the reason', async t => {
  const { vmm, machines } = await aVmmIn('running')
  machines.failing.add('load')
  await t.throwsAsync(vmm.reboot(), { message: 'load fails' })
  const end = await vmm.wait()
  t.is(end.kind, 'crash')
})

test('a machine that ended before it was handed to the VMM has ended', async t => {
  const machines = new FakeMachines()
  const restoreVm = async () => {
    const vm = await madeBy(machines)
    machines.events?.memoryLost(new TsvmmError('ERR_VM_CRASHED', { reason: 'its memory is gone' }))
    await vm.wait()
    return vm
  }
  await using vmm = new Vmm({ restoreVm, outlivesVm: true })
  const exited = once(vmm, 'vm-exit')
  await vmm.restore('/nowhere/at/all')
  t.like(await exited, [{ kind: 'crash' }])
  t.throws(() => vmm.components(), { code: 'ERR_VM_NOT_RUNNING' })
})

test('while a machine is restored no other one is waited for', async t => {
  const machines = new FakeMachines()
  const gate = Promise.withResolvers<void>()
  const make = async () => {
    await gate.promise
    return await madeBy(machines)
  }
  await using vmm = new Vmm({ restoreVm: make, receiveVm: make })
  const begun = once(vmm, 'event')
  const restored = vmm.restore('/nowhere/at/all')
  await begun
  const received = vmm.receiveMigration('unix:/nowhere/at/all')
  gate.resolve()
  await restored
  await t.throwsAsync(received, { code: 'ERR_VM_EXISTS' })
  t.deepEqual(machines.steps, ['build'])
})

test('closing while a machine is built waits for it and takes it apart', async t => {
  const { vmm, machines, events } = aVmm()
  const gate = Promise.withResolvers<void>()
  machines.delay = gate.promise
  await vmm.create(config)
  const booted = vmm.boot()
  await until(() => events.includes('vm:booting'))
  const closed = vmm.close()
  gate.resolve()
  await t.throwsAsync(booted)
  await closed
  t.deepEqual(await vmm.wait(), { kind: 'closed' })
  t.deepEqual(machines.steps, ['build', 'close'])
})
