import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { parseVmConfig, type VmConfigInput } from '../config/vm-config.ts'
import { TsvmmError } from '../util/errors.ts'
import type { Overrides } from './overrides.ts'
import type { RestoreOptions } from './restore.ts'
import { FakeMachines } from './testing/fake-machine.ts'
import { Vm } from './vm.ts'

const code = 'ERR_SNAPSHOT'
const config = parseVmConfig({
  payload: { kernel: 'vmlinux' },
  disks: [{ path: 'a.img' }],
  net: [{ tap: 'tap0' }],
})

async function aSnapshot(t: ExecutionContext, others: Partial<VmConfigInput> = {}) {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-vm-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const machines = new FakeMachines()
  const vm = await machines.createVm(parseVmConfig({ ...config, ...others }), { signal: new AbortController().signal })
  t.teardown(() => vm.close())
  await vm.boot()
  const path = join(place, 'one')
  return { place, path, machines, vm }
}

test('a running machine stands still while it is saved, and goes on', async t => {
  const { path, place, machines, vm } = await aSnapshot(t)
  const events: string[] = []
  for (const event of ['snapshotting', 'snapshotted'] as const) vm.on(event, () => events.push(event))
  vm.on('snapshot-progress', progress => {
    t.is(vm.snapshotProgress, progress)
    events.push(`${progress.bytesDone} of ${progress.bytesTotal}`)
  })
  machines.steps.length = 0
  await vm.snapshot(path)
  t.is(vm.snapshotProgress, undefined)
  t.deepEqual(machines.steps, ['pause', 'save', 'resume'])
  t.is(vm.state, 'running')
  // One that takes long tells more than once.
  t.deepEqual([...new Set(events)], ['snapshotting', '4096 of 4096', 'snapshotted'])
  t.deepEqual(readdirSync(place), ['one'])
  t.deepEqual(readdirSync(path).toSorted(), ['config.json', 'manifest.json', 'memory.img', 'memory.index', 'state.bin'])
  await vm.pause()
  machines.steps.length = 0
  await vm.snapshot(path, { overwrite: true })
  t.deepEqual(machines.steps, ['save'])
  t.is(vm.state, 'paused')
})

test('what goes wrong leaves the machine running, and nothing on the disk', async t => {
  const { path, place, machines, vm } = await aSnapshot(t)
  machines.failing.add('save')
  await t.throwsAsync(vm.snapshot(path), { code, message: `snapshot ${path}/memory.img: save fails` })
  t.is(machines.steps.at(-1), 'resume')
  t.is(vm.state, 'running')
  t.deepEqual(readdirSync(place), [])
  machines.failing.clear()
  machines.steps.length = 0
  await t.throwsAsync(vm.snapshot(join(place, 'no', 'where')), { code })
  t.deepEqual(machines.steps, [], 'it was not even paused')
  const given = new AbortController()
  const held = Promise.withResolvers<void>()
  machines.delay = held.promise
  const saving = vm.snapshot(path, { signal: given.signal })
  given.abort(new Error('enough'))
  held.resolve()
  await t.throwsAsync(saving, { message: 'enough' })
  t.is(vm.state, 'running')
  t.deepEqual(readdirSync(place), [])
})

test('a machine whose memory is lost neither goes on nor leaves a snapshot, whatever it does', async t => {
  for (const isRunning of [true, false]) {
    const { path, place, machines, vm } = await aSnapshot(t)
    if (!isRunning) await vm.pause()
    const held = Promise.withResolvers<void>()
    machines.delay = held.promise
    const saving = vm.snapshot(path)
    while (readdirSync(place).length === 0) await new Promise(setImmediate)
    const error = new TsvmmError('ERR_VM_CRASHED', { reason: 'its memory cannot be had: page 1' })
    vm.on('needs-reset', device => t.fail(device))
    machines.events?.memoryLost(error)
    machines.events?.needsReset('_disk0', 'queue 0: the available index runs ahead by more than the queue size')
    machines.steps.length = 0
    held.resolve()
    await t.throwsAsync(saving, { is: error })
    t.deepEqual(await vm.wait(), { kind: 'crash', error, report: '' })
    t.false(machines.steps.includes('resume'))
    t.is(machines.steps.at(-1), 'close')
    t.deepEqual(readdirSync(place), [])
  }
})

test('what is asked of memory on demand must go together', async t => {
  const { path, machines, vm } = await aSnapshot(t)
  await vm.snapshot(path)
  const refused = async (options: RestoreOptions, reason: string) => {
    await t.throwsAsync(machines.restoreVm(path, options), { code, message: `snapshot ${path}: ${reason}` })
  }
  await refused({ backgroundFill: true }, 'background_fill is of ondemand alone')
  await refused({ mode: 'copy', handlerSocket: '/h' }, 'handler_socket is of ondemand alone')
  const both = { mode: 'ondemand', backgroundFill: true, handlerSocket: '/h' } as const
  await refused(both, 'background_fill is up to the process of handler_socket')
  await refused(
    { mode: 'ondemand', overrides: { memory: { prefault: true } } },
    'it cannot be restored on demand with all of its memory present (prefault)',
  )
  const restored = await machines.restoreVm(path, { mode: 'ondemand', overrides: { memory: { shared: true } } })
  t.like(machines.options.ram, { mode: 'ondemand', paging: { fills: false } })
  await restored.close()
})

test('a machine that has not begun or has ended cannot be saved', async t => {
  const { path, vm } = await aSnapshot(t)
  await vm.close()
  await t.throwsAsync(vm.snapshot(path), { code: 'ERR_VM_STATE', message: 'cannot snapshot: the machine is shutdown' })
})

test('a restored machine is paused with the configuration of the saved one, or runs', async t => {
  const { path, machines, vm } = await aSnapshot(t)
  await vm.snapshot(path)
  const restored = await machines.restoreVm(path, {})
  t.is(restored.state, 'paused')
  t.deepEqual({ ...restored.config, disks: [] }, { ...vm.config, disks: [], payload: restored.config.payload })
  t.regex(restored.config.disks[0]?.path ?? '', /^\/.*a\.img$/)
  t.is(restored.config.net[0]?.mac, vm.config.net[0]?.mac)
  t.deepEqual(machines.steps.slice(-2), ['pause', 'new-generation'])
  await restored.close()
  const running = await machines.restoreVm(path, { resume: true, clock: 'jump' })
  t.is(running.state, 'running')
  t.deepEqual(machines.steps.slice(-4), ['pause', 'skip-pause', 'new-generation', 'resume'])
  await running.close()
})

test('a restored machine is to have the CPU of the saved one', async t => {
  const { path, machines, vm } = await aSnapshot(t)
  await vm.snapshot(path)
  t.is(machines.options.cpu, undefined)
  const restored = await machines.restoreVm(path, {})
  t.deepEqual(machines.options.cpu, { architecture: 'aarch64' })
  await restored.close()
})

test('things of the host can be elsewhere', async t => {
  const { path, machines, vm } = await aSnapshot(t)
  await vm.snapshot(path)
  const overrides: Overrides = {
    disks: { _disk0: { path: '/b.img' } },
    net: { _net1: { tap: 'tap7' } },
    serial: { mode: 'File', file: '/log' },
    memory: { prefault: true },
  }
  const restored = await machines.restoreVm(path, { overrides })
  const { disks, net, serial, memory } = restored.config
  t.is(disks[0]?.path, '/b.img')
  t.deepEqual([net[0]?.tap, net[0]?.mac], ['tap7', vm.config.net[0]?.mac])
  t.deepEqual(serial, { mode: 'File', file: '/log' })
  t.true(memory.prefault)
  t.is(memory.size, vm.config.memory.size)
  await restored.close()
  const unknown = machines.restoreVm(path, { overrides: { disks: { _disk7: { path: '/b' } } } })
  await t.throwsAsync(unknown, { code: 'ERR_DEVICE_UNKNOWN', message: 'there is no device _disk7' })
})

test('a console that goes elsewhere is where its guest knows it to be', async t => {
  const { path, machines, vm } = await aSnapshot(t, {
    console: { mode: 'File', file: '/console', pci_device_id: 9 },
    debug_console: { mode: 'File', file: '/debug', iobase: 0x402 },
  })
  await vm.snapshot(path)
  const restored = await machines.restoreVm(path, {
    overrides: { console: { mode: 'Null' }, debug_console: { mode: 'File', file: '/other' } },
  })
  t.deepEqual(restored.config.console, { mode: 'Null', pci_device_id: 9 })
  t.deepEqual(restored.config.debug_console, { mode: 'File', file: '/other', iobase: 0x402 })
  await restored.close()
})

test('what is missing, cut or changed is named, and no machine is made', async t => {
  const { path, machines, vm } = await aSnapshot(t)
  await vm.snapshot(path)
  const built = machines.configs.length
  const damaged = async (name: string, damage: (file: string) => void, reason: string) => {
    const file = join(path, name)
    const whole = readFileSync(file)
    damage(file)
    await t.throwsAsync(machines.restoreVm(path, {}), { code, message: `snapshot ${file}: ${reason}` })
    writeFileSync(file, whole)
  }
  for (const name of ['config.json', 'state.bin', 'memory.index', 'memory.img', 'manifest.json']) {
    await damaged(name, unlinkSync, 'no such file or directory')
  }
  for (const name of ['config.json', 'state.bin', 'memory.index', 'memory.img']) {
    const { size } = { size: readFileSync(join(path, name)).length }
    await damaged(name, file => truncateSync(file, size - 1), `it has ${size - 1} bytes and had ${size}`)
  }
  for (const name of ['config.json', 'state.bin', 'memory.index']) {
    const flip = (file: string) => {
      const bytes = readFileSync(file)
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
      writeFileSync(file, bytes)
    }
    await damaged(name, flip, 'it is not what was written: its digest differs')
  }
  await damaged('manifest.json', file => writeFileSync(file, '{'), 'is not JSON')
  t.is(machines.configs.length, built)
  const restored = await machines.restoreVm(path, {})
  t.is(restored.state, 'paused')
  await restored.close()
})

test('a machine that cannot be built or loaded leaves nothing', async t => {
  const { path, machines, vm } = await aSnapshot(t)
  await vm.snapshot(path)
  machines.failing.add('pause')
  await t.throwsAsync(machines.restoreVm(path, {}), { message: 'pause fails' })
  t.is(machines.steps.at(-1), 'close')
  machines.failing.clear()
  const shared = machines.restoreVm(path, { mode: 'cow', overrides: { memory: { shared: true } } })
  const message = `snapshot ${path}: it cannot be restored copy-on-write: the machine has shared memory`
  await t.throwsAsync(shared, { code, message })
  t.true(vm instanceof Vm)
})

test('a machine that does not go on after its snapshot is paused, one that cannot begin is closed', async t => {
  const { path, machines, vm } = await aSnapshot(t)
  machines.failing.add('resume')
  await t.throwsAsync(vm.snapshot(path), { message: 'resume fails' })
  t.is(vm.state, 'paused')
  machines.failing.clear()
  await vm.resume()
  await vm.snapshot(path)
  machines.failing.add('resume')
  await t.throwsAsync(machines.restoreVm(path, { resume: true }), { message: 'resume fails' })
  t.is(machines.steps.at(-1), 'close')
})
