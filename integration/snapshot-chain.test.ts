import { copyFileSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { diffSnapshots } from '../src/snapshot/diff.ts'
import { ApiClient } from './harness/api-client.ts'
import { debianKernel, rootDisk } from './harness/artifacts.ts'
import { goesOn, progress, works } from './harness/guest-at-work.ts'
import { runTsvmm, TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const mebibyte = 1024 * 1024

test.serial('a machine at work is saved as it runs, then what differs, and goes on from each of them', async t => {
  using workspace = new Workspace()
  const socket = workspace.path('api.sock')
  const api = new ApiClient(socket)
  const [root, data] = [workspace.copy(rootDisk()), workspace.path('data.img')]
  writeFileSync(data, '')
  truncateSync(data, 64 * mebibyte)
  const place = (name: string) => workspace.path(name)
  const onDisk = (name: string) => statSync(`${place(name)}/memory.img`).blocks * 512
  /** Takes a snapshot of a paused machine, and its disks as they are then. */
  const saveWithDisks = async (name: string, request: object) => {
    await api.change('/vm.pause')
    await api.change('/vm.snapshot', { destination_url: place(name), ...request })
    for (const disk of [root, data]) copyFileSync(disk, `${disk}.${name}`)
    await api.change('/vm.resume')
  }
  const progressOf = new Map<string, readonly number[]>()
  {
    await using vm = new TsvmmProcess([
      ...['--api-socket', socket, ...debianKernel.flags('console=ttyS0 root=/dev/vda rw')],
      ...['--disk', `path=${root}`, `path=${data}`, '--cpus', 'boot=2', '--memory', 'size=512M'],
      ...['--serial', 'tty', '--console', 'off', '-v', '--log-file', workspace.path('log')],
    ])
    await works(vm.console, 16)
    const before = await progress(vm.console)
    await api.change('/vm.snapshot', { destination_url: place('live'), live: true, pause_limit: 0 })
    t.regex(
      readFileSync(workspace.path('log'), 'utf8'),
      /saved as it ran.* rounds; what was left was write-protected\n/,
    )
    t.is(await api.state(), 'Running')
    await goesOn(t, vm.console, before, 'the machine that was saved live')
    progressOf.set('first', await progress(vm.console))
    await saveWithDisks('first', { parent_url: place('live') })
    await goesOn(t, vm.console, await progress(vm.console), 'the machine of which the difference was saved')
    progressOf.set('second', await progress(vm.console))
    await saveWithDisks('second', { parent_url: place('first') })
    t.true(onDisk('second') < onDisk('live') / 2, `${onDisk('second')} of ${onDisk('live')} bytes`)
    await api.change('/vm.snapshot', { destination_url: place('b'), parent_url: place('second'), memory_form: 'Zstd' })
    await api.change('/vm.snapshot', { destination_url: place('c'), parent_url: place('b'), live: true })
    progressOf.set('fifth', await progress(vm.console))
    await saveWithDisks('fifth', { parent_url: place('c') })
    t.is((await api.put('/vmm.shutdown')).status, 200)
    t.is((await vm.exit()).exitCode, 0)
  }
  t.is((await runTsvmm(['snapshot', 'merge', place('fifth'), place('whole')])).exitCode, 0)
  const { memory } = await diffSnapshots(place('fifth'), place('whole'))
  t.deepEqual(memory, { pages: (512 * mebibyte) / 4096, differingPages: 0 })
  const restores = [
    ['fifth', 'ondemand', undefined],
    ['second', 'cow', 'third'],
    ['first', 'copy', undefined],
    ['third', 'cow', undefined],
  ] as const
  for (const [name, mode, next] of restores) {
    for (const disk of [root, data]) copyFileSync(`${disk}.${name}`, disk)
    await using vm = new TsvmmProcess([
      ...['--api-socket', socket, '--restore', `source_url=${place(name)},memory_restore_mode=${mode},resume=on`],
    ])
    await goesOn(t, vm.console, progressOf.get(name) ?? [], name)
    if (next === undefined) continue
    // On top of the snapshot that its memory is a mapping of.
    progressOf.set(next, await progress(vm.console))
    await saveWithDisks(next, { parent_url: place(name) })
    t.true(onDisk(next) < onDisk('live') / 2, `${onDisk(next)} of ${onDisk('live')} bytes`)
    await goesOn(t, vm.console, await progress(vm.console), `${name}, after its own snapshot`)
    t.is((await api.put('/vmm.shutdown')).status, 200)
    await vm.exit()
  }
})
