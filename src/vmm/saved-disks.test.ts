import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { parseVmConfig } from '../config/vm-config.ts'
import { openSnapshot } from '../snapshot/read.ts'
import { FakeMachines } from './testing/fake-machine.ts'

/** A machine with a disk that it writes to and one that it reads, saved with the first. */
async function aSavedMachine(t: ExecutionContext) {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-disks-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  mkdirSync(join(place, 'disks'))
  const [disk, readOnly, path] = [join(place, 'disks', 'a.img'), join(place, 'disks', 'b.img'), join(place, 'one')]
  writeFileSync(disk, 'then')
  writeFileSync(readOnly, 'always')
  const config = parseVmConfig({
    payload: { kernel: 'vmlinux' },
    disks: [{ path: disk }, { path: readOnly, readonly: true }],
    console: { mode: 'Null' },
  })
  const machines = new FakeMachines()
  const vm = await machines.createVm(config, { signal: new AbortController().signal })
  t.teardown(() => vm.close())
  await vm.boot()
  // What it writes once it goes on is no part of the snapshot.
  machines.onStep = step => {
    if (step === 'resume') writeFileSync(disk, 'later')
  }
  await vm.snapshot(path, { disks: 'copy' })
  return { place, disk, path, machines, vm }
}

test('a snapshot has the disks of its instant, and a machine restored from it copies of them', async t => {
  const { place, disk, path, machines } = await aSavedMachine(t)
  t.is(readFileSync(disk, 'utf8'), 'later')
  t.is(readFileSync(join(path, 'disk0.img'), 'utf8'), 'then')
  const directory = join(place, 'mine')
  const restored = await machines.restoreVm(path, { disks: 'copy', diskDirectory: directory })
  t.teardown(() => restored.close())
  t.is(restored.config.disks[0]?.path, join(directory, '_disk0.img'))
  t.is(readFileSync(join(directory, '_disk0.img'), 'utf8'), 'then')
  const passing = await machines.restoreVm(path, { disks: 'copy' })
  t.teardown(() => passing.close())
  t.not(passing.config.disks[0]?.path, disk)
  t.deepEqual(readdirSync(join(place, 'disks')).toSorted(), ['a.img', 'b.img'])
  t.deepEqual(
    readdirSync(path).filter(name => name.startsWith('disk')),
    ['disk0.img'],
  )
  const left = await machines.restoreVm(path, { disks: 'leave' })
  t.teardown(() => left.close())
  t.is(left.config.disks[0]?.path, disk)
})

test('clones have copies of the disks that the snapshot has', async t => {
  const { place, path, machines } = await aSavedMachine(t)
  const diskDirectory = join(place, 'mine')
  const clones = await machines.cloneVm(path, 2, { disks: 'copy', diskDirectory })
  t.teardown(() => Promise.all(clones.map(clone => clone.close())))
  t.deepEqual(
    clones.map(({ config }) => readFileSync(config.disks[0]?.path ?? '', 'utf8')),
    ['then', 'then'],
  )
})

test('nobody restores it beside other disks unawares', async t => {
  const { path, machines } = await aSavedMachine(t)
  const error = { code: 'ERR_SNAPSHOT', message: /it has its disks as they were \(_disk0\): say disks=copy, / }
  await t.throwsAsync(machines.restoreVm(path, {}), error)
  await t.throwsAsync(machines.cloneVm(path, 1, {}), error)
})

test('the manifest says which disks there are, and one that is cut is told', async t => {
  const { place, path, vm } = await aSavedMachine(t)
  const two = join(place, 'two')
  await vm.snapshot(two, { disks: 'copy' })
  {
    await using snapshot = await openSnapshot(two)
    t.deepEqual([...snapshot.disks], [['_disk0', join(two, 'disk0.img')]])
    t.deepEqual(snapshot.manifest.features, ['disks'])
  }
  truncateSync(join(path, 'disk0.img'), 1)
  const message = `snapshot ${path}/disk0.img: it has 1 bytes and had 4`
  await t.throwsAsync(openSnapshot(path), { code: 'ERR_SNAPSHOT', message })
})

test('a disk that cannot be copied fails the snapshot, and the machine goes on', async t => {
  const { place, disk, vm } = await aSavedMachine(t)
  rmSync(disk)
  await t.throwsAsync(vm.snapshot(join(place, 'two'), { disks: 'copy' }), {
    code: 'ERR_DISK',
    message: /a\.img: cannot copy/,
  })
  t.is(vm.state, 'running')
  t.deepEqual(readdirSync(place).toSorted(), ['disks', 'one'])
})
