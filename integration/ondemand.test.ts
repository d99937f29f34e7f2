import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { ApiClient } from './harness/api-client.ts'
import { debianKernel, rootDisk } from './harness/artifacts.ts'
import { goesOn, progress, works } from './harness/guest-at-work.ts'
import { TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const mebibytes = 32

test.serial('a machine restored on demand goes on, is saved before all is there, and its end is told', async t => {
  using workspace = new Workspace()
  const socket = workspace.path('api.sock')
  const api = new ApiClient(socket)
  const root = workspace.copy(rootDisk())
  const data = workspace.path('data.img')
  writeFileSync(data, '')
  truncateSync(data, 64 * 1024 * 1024)
  const disks = [root, data]
  const keep = (name: string) => {
    for (const disk of disks) copyFileSync(disk, `${disk}.${name}`)
  }
  const takeBack = (name: string) => {
    for (const disk of disks) copyFileSync(`${disk}.${name}`, disk)
  }
  const save = async (name: string, fields: object = {}) => {
    await api.change('/vm.snapshot', { destination_url: `file://${workspace.path(name)}`, ...fields })
  }
  let saved: readonly number[] = []
  {
    await using vm = new TsvmmProcess([
      ...['--api-socket', socket, ...debianKernel.flags('console=ttyS0 root=/dev/vda rw')],
      ...['--disk', `path=${root}`, `path=${data}`, '--cpus', 'boot=2', '--memory', `size=${512 + mebibytes}M`],
      ...['--serial', 'tty', '--console', 'off'],
    ])
    await works(vm.console, mebibytes)
    saved = await progress(vm.console)
    await api.change('/vm.pause')
    await save('image')
    await save('zstd', { memory_form: 'Zstd' })
    keep('first')
    t.is((await api.put('/vmm.shutdown')).status, 200)
    await vm.exit()
  }
  for (const form of ['image', 'zstd']) {
    takeBack('first')
    const next = `${form}-next`
    let savedNext: readonly number[] = []
    {
      const keys = `source_url=${workspace.path(form)},memory_restore_mode=ondemand,resume=on`
      await using vm = new TsvmmProcess(['--api-socket', socket, '--restore', keys])
      await goesOn(t, vm.console, saved, `${form} on demand`)
      savedNext = await progress(vm.console)
      await api.change('/vm.pause')
      await save(next, form === 'image' ? { parent_url: workspace.path(form) } : {})
      keep('next')
      t.is((await api.put('/vmm.shutdown')).status, 200)
      await vm.exit()
    }
    t.true(readFileSync(`${workspace.path(next)}/memory.prefetch`).length > 0)
    takeBack('next')
    const fill = form === 'image' ? 'on' : 'off'
    const keys = `${workspace.path(next)},memory_restore_mode=ondemand,background_fill=${fill}`
    await using again = new TsvmmProcess(['restore', keys])
    await goesOn(t, again.console, savedNext, `what was saved of ${form} before all was there`)
  }
  // The file is cut while the guest needs it.
  takeBack('first')
  {
    const keys = `source_url=${workspace.path('zstd')},memory_restore_mode=ondemand`
    await using vm = new TsvmmProcess(['--api-socket', socket, '--restore', keys])
    await api.becomes('Paused')
    truncateSync(`${workspace.path('zstd')}/memory.zst`, 0)
    await api.put('/vm.resume')
    const { exitCode, stderr } = await vm.exit()
    t.is(exitCode, 1, stderr)
    // Before that, its devices may have found nothing where their queues are.
    t.regex(
      stderr,
      /\ntsvmm: error: the guest stopped: its memory cannot be had: page \d+ of the memory image: [^\n]*\n?$/,
    )
  }
  // A handler that serves nothing and dies.
  takeBack('first')
  const handlerSocket = workspace.path('handler.sock')
  const script = `require('node:net').createServer(socket => socket.pipe(process.stdout)).listen(process.argv[1],
    () => process.stdout.write('listens'))`
  const handler = spawn(process.execPath, ['-e', script, handlerSocket], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(handler.stdout, 'data')
  const asked = once(handler.stdout, 'data')
  const keys = `${workspace.path('image')},memory_restore_mode=ondemand,handler_socket=${handlerSocket}`
  await using vm = new TsvmmProcess(['restore', keys])
  await asked
  handler.kill('SIGKILL')
  const { exitCode, stderr } = await vm.exit()
  t.is(exitCode, 1, stderr)
  // It may have run already, and its devices may have found nothing where their queues are.
  t.regex(stderr, /(^|\n)tsvmm: error: [^\n]*its memory cannot be had: [^\n]*has gone\n?$/)
})
