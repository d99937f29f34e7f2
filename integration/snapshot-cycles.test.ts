import { rmSync, truncateSync, writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import test from 'ava'
import { ApiClient } from './harness/api-client.ts'
import { debianKernel, rootDisk } from './harness/artifacts.ts'
import { goesOn, progress, works } from './harness/guest-at-work.ts'
import { TapNetwork } from './harness/tap-network.ts'
import { TcpDialogue } from './harness/tcp-dialogue.ts'
import { TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

/** How the machine of a cycle is saved, and how that of the next one is made of it. */
const ways = [
  { save: {}, restore: 'cow' },
  { save: { memory_form: 'Zstd' }, restore: 'ondemand' },
  { save: { live: true }, restore: 'cow' },
  { save: { memory_form: 'Zstd', live: true }, restore: 'copy' },
  { save: { isOnParent: true }, restore: 'ondemand' },
] as const

for (const { cycles, when } of [
  { cycles: ways.length, when: '' },
  { cycles: 100, when: 'long: ' },
]) {
  test.serial(`${when}a machine with a connection is saved and restored ${cycles} times in a row`, async t => {
    t.timeout(60 * 60_000)
    using workspace = new Workspace()
    const socket = workspace.path('api.sock')
    const api = new ApiClient(socket)
    const data = workspace.path('data.img')
    writeFileSync(data, '')
    truncateSync(data, 64 * 1024 * 1024)
    await using network = await TapNetwork.create('tsvmm3', 203)
    await using dialogue = await TcpDialogue.listen(network.hostAddress)
    const place = (cycle: number) => workspace.path(`cycle-${cycle}`)
    const goOn = async (vm: TsvmmProcess, from: readonly number[], what: string) => {
      const lines = dialogue.lines
      await goesOn(t, vm.console, from, what)
      for (let waited = 0; dialogue.lines < lines + 100 && waited < 600; waited += 1) await delay(100)
      t.true(dialogue.lines >= lines + 100, `${what}: ${dialogue.lines - lines} lines`)
      t.deepEqual(dialogue.errors, [], what)
    }
    /** Saves it and cuts its power, so that disk and connection stay as they are saved. */
    const save = async (vm: TsvmmProcess, cycle: number): Promise<readonly number[]> => {
      const { isOnParent = false, ...fields } = { isOnParent: false, ...ways[cycle % ways.length]?.save }
      const reached = await progress(vm.console)
      const parent = isOnParent ? { parent_url: place(cycle - 1) } : {}
      // Saved as it runs it would go on for a moment after that.
      if (!('live' in fields)) await api.change('/vm.pause')
      else await api.change('/vm.snapshot', { destination_url: workspace.path('passing'), overwrite: true, ...fields })
      if ('live' in fields) await api.change('/vm.pause')
      await api.change('/vm.snapshot', { destination_url: place(cycle), ...fields, live: false, ...parent })
      t.is((await api.put('/vmm.shutdown')).status, 200)
      await vm.exit()
      return reached
    }
    let reached: readonly number[] = []
    {
      await using vm = new TsvmmProcess([
        ...['--api-socket', socket, ...debianKernel.flags('console=ttyS0 root=/dev/vda rw')],
        ...['--disk', `path=${workspace.copy(rootDisk())}`, `path=${data}`, '--cpus', 'boot=2'],
        ...['--memory', 'size=512M', '--net', `tap=${network.tap},mac=12:34:56:78:90:ad`],
        ...['--serial', 'tty', '--console', 'off'],
      ])
      await works(vm.console, 16)
      await vm.console.check('card=$(basename "$(dirname "$(grep -il 12:34:56:78:90:ad /sys/class/net/*/address)")")')
      await vm.console.check(`ip addr add ${network.guestAddress}/24 dev $card; ip link set $card up`)
      // As a command: the shell prints the number of the job that it starts.
      await vm.console.check(dialogue.script)
      await goOn(vm, await progress(vm.console), 'the machine that was booted')
      reached = await save(vm, 0)
    }
    for (let cycle = 1; cycle <= cycles; cycle += 1) {
      const before = ways[(cycle - 1) % ways.length]
      const keys = `source_url=${place(cycle - 1)},memory_restore_mode=${before?.restore},resume=on`
      await using vm = new TsvmmProcess(['--api-socket', socket, '--restore', keys])
      await goOn(vm, reached, `cycle ${cycle}: ${JSON.stringify(before)}`)
      reached = await save(vm, cycle)
      // One that another stands on is needed by that one.
      const isNeeded = (number: number) => 'isOnParent' in (ways[(number + 1) % ways.length]?.save ?? {})
      for (const old of [cycle - 1, cycle - 2]) {
        if (old >= 0 && !(old === cycle - 1 && isNeeded(old))) rmSync(place(old), { recursive: true, force: true })
      }
    }
  })
}
