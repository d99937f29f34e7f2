import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { parseVmConfig } from '../config/vm-config.ts'
import { FakeMachines } from './testing/fake-machine.ts'
import type { Vm } from './vm.ts'

async function aMachine(t: ExecutionContext) {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-forks-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const disk = join(place, 'disks', 'a.img')
  mkdirSync(join(place, 'disks'))
  writeFileSync(disk, 'as it was')
  const machines = new FakeMachines()
  const config = parseVmConfig({ payload: { kernel: 'vmlinux' }, disks: [{ path: disk }], console: { mode: 'Null' } })
  const vm = await machines.createVm(config, { signal: new AbortController().signal })
  t.teardown(() => vm.close())
  await vm.boot()
  machines.steps.length = 0
  return { place, disk, machines, vm }
}

async function close(vms: readonly Vm[]): Promise<void> {
  for (const vm of vms) await vm.close()
}

const forksIn = () => readdirSync(tmpdir()).filter(name => name.startsWith('tsvmm-fork-')).length

test.serial(
  'a machine is saved once and goes on; its clones have copies of its disk that nobody else sees',
  async t => {
    const { disk, machines, vm, place } = await aMachine(t)
    const before = forksIn()
    const clones = await machines.forkVm(vm, 3, { disks: 'copy', resume: true })
    t.is(machines.steps.filter(step => step === 'save').length, 1)
    t.is(machines.steps.filter(step => step === 'new-generation').length, 3)
    t.deepEqual(
      [vm, ...clones].map(({ state }) => state),
      ['running', 'running', 'running', 'running'],
    )
    const paths = clones.map(({ config }) => config.disks[0]?.path ?? '')
    t.is(new Set([disk, ...paths]).size, 4)
    t.deepEqual(readdirSync(join(place, 'disks')), ['a.img'])
    t.is(forksIn(), before)
    await close(clones)
    t.is(vm.state, 'running')
  },
)

test('copies in a directory stay, and are of the instant at which the machine was saved', async t => {
  const { disk, machines, vm, place } = await aMachine(t)
  vm.once('snapshotted', () => writeFileSync(disk, 'later'))
  const directory = join(place, 'kept')
  const clones = await machines.forkVm(vm, 2, { disks: 'copy', diskDirectory: join(place, 'copies'), directory })
  t.deepEqual(
    clones.map(({ state }) => state),
    ['paused', 'paused'],
  )
  await close(clones)
  t.deepEqual(readdirSync(join(place, 'copies')), ['_disk0-0.img', '_disk0-1.img'])
  for (const name of ['_disk0-0.img', '_disk0-1.img']) {
    t.is(readFileSync(join(place, 'copies', name), 'utf8'), 'as it was')
  }
  t.true(readdirSync(directory).includes('manifest.json'))
  const again = machines.cloneVm(directory, 2, { disks: 'copy', diskDirectory: join(place, 'copies') })
  await t.throwsAsync(again, { code: 'ERR_DISK', message: /_disk0-0\.img: cannot copy: file already exists/ })
  t.is(machines.steps.at(-1), 'close')
})

test('what cannot be shared is told before the machine is even paused', async t => {
  const { disk, machines, vm } = await aMachine(t)
  await t.throwsAsync(machines.forkVm(vm, 2), {
    code: 'ERR_CLONES',
    message: new RegExp(`--disk _disk0 \\(${disk}\\)`),
  })
  t.deepEqual(machines.steps, [])
})

test.serial('where one cannot be made there is none, and nothing is left', async t => {
  const { place, machines, vm } = await aMachine(t)
  const before = forksIn()
  let built = 0
  const overrides = (number: number) => {
    built = number
    return {}
  }
  machines.onBuild = () => {
    if (machines.configs.length === 4) throw new Error('no more')
  }
  await t.throwsAsync(machines.forkVm(vm, 5, { disks: 'copy', overrides }), { message: 'no more' })
  t.is(built, 4)
  t.is(machines.steps.filter(step => step === 'close').length, 2)
  t.is(vm.state, 'running')
  t.deepEqual(readdirSync(join(place, 'disks')), ['a.img'])
  t.is(forksIn(), before)
  machines.configs = []
  const directory = join(place, 'copies')
  await t.throwsAsync(machines.forkVm(vm, 5, { disks: 'copy', diskDirectory: directory }), { message: 'no more' })
  t.deepEqual(readdirSync(directory), [])
  machines.failing.add('save')
  await t.throwsAsync(machines.forkVm(vm, 1, { disks: 'copy', diskDirectory: join(place, 'd') }), {
    message: /save fails/,
  })
  t.is(vm.state, 'running')
  t.is(forksIn(), before)
})

test('clones of a snapshot are made of it as often as wanted', async t => {
  const { machines, vm, place } = await aMachine(t)
  const path = join(place, 'one')
  await vm.snapshot(path)
  await vm.close()
  for (const _ of ['once', 'again']) {
    const clones = await machines.cloneVm(path, 2, { disks: 'copy', clock: 'jump' })
    t.is(clones.length, 2)
    t.is(machines.steps.filter(step => step === 'skip-pause').length, 2)
    machines.steps.length = 0
    await close(clones)
  }
  await t.throwsAsync(machines.cloneVm(path, 2), { code: 'ERR_CLONES' })
  const aborted = machines.cloneVm(path, 2, { disks: 'copy', signal: AbortSignal.abort(new Error('enough')) })
  await t.throwsAsync(aborted, { message: 'enough' })
})
