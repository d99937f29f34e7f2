import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ApiClient } from './harness/api-client.ts'
import { TapNetwork } from './harness/tap-network.ts'
import { TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

/** A snapshot of every release: fixtures/snapshots/README.md. */
const snapshots = new URL('../fixtures/snapshots/', import.meta.url).pathname
const releases = readdirSync(snapshots).filter(name => existsSync(join(snapshots, name, 'snapshot')))

test.serial('there is a golden snapshot of this release', t => {
  t.true(releases.length > 0)
})

/** The guest says by itself whether disk, card, source, console, clocks and its memory are as they were. */
async function goesOn({ console }: TsvmmProcess): Promise<void> {
  const [, first = ''] = await console.waitFor(/tick (\d+) (?:ok|bad)\n/)
  await console.waitFor(new RegExp(`tick ${Number(first) + 20} ok\n`))
  console.type('x')
  await console.waitFor(/typed x\n/)
}

for (const release of releases) {
  test.serial(`the golden snapshot of ${release} goes on with every device, and what is saved of it, too`, async t => {
    using workspace = new Workspace()
    const disk = workspace.copy(join(snapshots, release, 'disk.img'))
    const socket = workspace.path('api.sock')
    await using network = await TapNetwork.create('tsvmmgold', 77)
    // The rate at which the lab finds its counters to run is not always the same.
    const restored = (path: string) =>
      new TsvmmProcess([
        ...['--api-socket', socket, '--restore', `source_url=${path},resume=on,tsc_rate=host`],
        ...['--disk', `id=_disk0,path=${disk}`, '--net', `id=_net1,tap=${network.tap}`],
      ])
    const again = workspace.path('again')
    {
      await using vm = restored(join(snapshots, release, 'snapshot'))
      await goesOn(vm)
      const api = new ApiClient(socket)
      await api.change('/vm.pause')
      await api.change('/vm.snapshot', { destination_url: again })
      t.is((await api.put('/vmm.shutdown')).status, 200)
      await vm.exit()
    }
    await using vm = restored(again)
    await goesOn(vm)
  })
}
