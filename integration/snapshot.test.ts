import { copyFileSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { ApiClient } from './harness/api-client.ts'
import { debianKernel, rootDisk } from './harness/artifacts.ts'
import { goesOn, progress, works } from './harness/guest-at-work.ts'
import { runTsvmm, TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const variants = [
  { cpus: 1, mebibytes: 256, when: 'long: ' },
  { cpus: 2, mebibytes: 32, when: '' },
  { cpus: 4, mebibytes: 256, when: 'long: ' },
]

for (const { cpus, mebibytes, when } of variants) {
  test.serial(
    `${when}a machine at work is saved and goes on, and so do those restored from it (${cpus} vCPUs)`,
    async t => {
      using workspace = new Workspace()
      const socket = workspace.path('api.sock')
      const api = new ApiClient(socket)
      const root = workspace.copy(rootDisk())
      const data = workspace.path('data.img')
      writeFileSync(data, '')
      truncateSync(data, 64 * 1024 * 1024)
      const [image, compressed] = [workspace.path('image'), workspace.path('compressed')]
      let saved: readonly number[] = []
      {
        await using vm = new TsvmmProcess([
          ...['--api-socket', socket, ...debianKernel.flags('console=ttyS0 root=/dev/vda rw')],
          ...[
            '--disk',
            `path=${root}`,
            `path=${data}`,
            '--cpus',
            `boot=${cpus}`,
            '--memory',
            `size=${512 + mebibytes}M`,
          ],
          ...['--serial', 'tty', '--console', 'off'],
        ])
        await works(vm.console, mebibytes)
        saved = await progress(vm.console)
        await api.change('/vm.snapshot', { destination_url: `file://${workspace.path('running')}` })
        t.is(await api.state(), 'Running')
        await goesOn(t, vm.console, saved, 'the machine that was saved as it ran')
        await api.change('/vm.pause')
        await api.change('/vm.snapshot', { destination_url: `file://${image}` })
        await api.change('/vm.snapshot', { destination_url: `file://${compressed}`, memory_form: 'Zstd' })
        t.is(await api.state(), 'Paused')
        for (const disk of [root, data]) copyFileSync(disk, `${disk}.saved`)
        await api.change('/vm.resume')
        await goesOn(t, vm.console, await progress(vm.console), 'the machine that was saved')
        t.is((await api.put('/vmm.shutdown')).status, 200)
        t.is((await vm.exit()).exitCode, 0)
      }
      const restores = [
        ['cow', `source_url=${image},memory_restore_mode=cow`],
        ['copy', `source_url=${image},memory_restore_mode=copy,prefault=on`],
        ['compressed', compressed],
      ] as const
      for (const [what, source] of restores) {
        for (const disk of [root, data]) copyFileSync(`${disk}.saved`, disk)
        await using vm = new TsvmmProcess(['restore', source])
        await goesOn(t, vm.console, saved, what)
        await goesOn(t, vm.console, await progress(vm.console), what)
        if (what !== 'compressed') continue
        const { exitCode, stderr } = await vm.powerOff()
        t.is(exitCode, 0, stderr)
      }
    },
  )
}

test.serial('a snapshot that is damaged or does not fit is refused in one line, and nothing is left', async t => {
  using workspace = new Workspace()
  const socket = workspace.path('api.sock')
  const api = new ApiClient(socket)
  const path = workspace.path('one')
  const disk = workspace.path('data.img')
  writeFileSync(disk, '')
  truncateSync(disk, 16 * 1024 * 1024)
  await using vm = new TsvmmProcess([
    ...['--api-socket', socket, ...debianKernel.flags('console=ttyS0 quiet tsvmm.run=commands')],
    ...['--disk', `path=${disk}`, '--cpus', 'boot=1', '--memory', 'size=256M', '--serial', 'tty', '--console', 'off'],
  ])
  await vm.console.waitFor(/tsvmm# $/, 120_000)
  await api.change('/vm.snapshot', { destination_url: `file://${path}` })
  const again = await api.put('/vm.snapshot', { destination_url: `file://${path}` })
  t.is(again.status, 500)
  t.regex(JSON.stringify(again.json), /there is something already/)
  t.is(await api.state(), 'Running')
  t.is((await api.put('/vmm.shutdown')).status, 200)
  await vm.exit()

  const refused = async (args: readonly string[], message: RegExp) => {
    const { exitCode, stderr } = await runTsvmm(['restore', ...args, '--serial', 'null'])
    t.is(exitCode, 1, stderr)
    t.regex(stderr, message)
    t.is(stderr.trim().split('\n').length, 1, stderr)
  }
  truncateSync(disk, 8 * 1024 * 1024)
  await refused([path], /^tsvmm: error: _disk0: its image has 8388608 bytes and had 16777216\n?$/)
  await refused([path, '--disk', 'id=_disk0,path=/nowhere'], /--disk \/nowhere: no such file or directory/)
  truncateSync(disk, 16 * 1024 * 1024)
  for (const name of readdirSync(path)) {
    const file = `${path}/${name}`
    const place = readFileSync(file).findLastIndex(byte => byte !== 0)
    const flip = () => {
      const bytes = readFileSync(file)
      bytes[place] = (bytes[place] ?? 0) ^ 0x40
      writeFileSync(file, bytes)
    }
    flip()
    const what = name === 'memory.img' ? /memory of the snapshot: .*page \d+.*checksum/ : new RegExp(`${name}`)
    await refused([`${path},memory_restore_mode=copy`], what)
    flip()
  }
  await using whole = new TsvmmProcess(['restore', `${path},memory_restore_mode=copy`])
  whole.console.type('echo still here\n')
  await whole.console.waitFor(/still here\nstatus 0\n/)
})
