import { readdirSync, readFileSync, readlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { ApiClient } from './harness/api-client.ts'
import { customKernel, debianKernel, rootDisk } from './harness/artifacts.ts'
import type { GuestConsole } from './harness/guest-console.ts'
import { TapNetwork } from './harness/tap-network.ts'
import { TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const mac = '12:34:56:78:90:ab'

function dataDisk(workspace: Workspace, name = 'data.img'): string {
  const path = workspace.path(name)
  writeFileSync(path, '')
  truncateSync(path, 16 * 1024 * 1024)
  return path
}

/** A Debian guest whose machine is served at `socket`. */
function aGuest(socket: string, disk: string, kernel = debianKernel): TsvmmProcess {
  return new TsvmmProcess([
    ...['--api-socket', socket, ...kernel.flags('console=ttyS0 root=/dev/vda rw')],
    ...['--disk', `path=${disk}`, '--cpus', 'boot=2', '--memory', 'size=512M', '--serial', 'tty', '--console', 'off'],
  ])
}

/** The ids of the disks and cards that vm.info shows, in the configuration and on PCI. */
async function devicesOf(api: ApiClient) {
  const { json } = await api.get('/vm.info')
  const config: unknown = Reflect.get(Object(json), 'config')
  const lists = ['disks', 'net'].map(list => Reflect.get(Object(config), list))
  const tree = Object.keys(Object(Reflect.get(Object(json), 'device_tree')))
  return {
    config: lists.flatMap((list: { id: string }[]) => list.map(({ id }) => id)),
    tree: tree.filter(id => /^_(disk|net)|^data|^card/.test(id)),
  }
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 120_000
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`${what}: not within two minutes`)
    await delay(50)
  }
}

function isOpen(pid: number, path: string): boolean {
  const links = readdirSync(`/proc/${pid}/fd`).flatMap(fd => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)]
    } catch {
      // Closed meanwhile.
      return []
    }
  })
  return links.includes(path)
}

async function appears(guest: GuestConsole, path: string): Promise<void> {
  await guest.check(`until [ -e ${path} ]; do sleep 0.1; done`)
}

async function disappears(guest: GuestConsole, path: string): Promise<void> {
  await guest.check(`while [ -e ${path} ]; do sleep 0.1; done`)
}

/** Waits for the card, gives it its address and asks the host for an answer. */
async function pings(guest: GuestConsole, network: TapNetwork): Promise<void> {
  await guest.check(`until grep -qi ${mac} /sys/class/net/*/address; do sleep 0.1; done`)
  const card = await guest.check(`basename "$(dirname "$(grep -il ${mac} /sys/class/net/*/address)")"`)
  await guest.check(`ip addr replace ${network.guestAddress}/24 dev ${card}; ip link set ${card} up`)
  await guest.check(`ping -c 3 -W 5 ${network.hostAddress}`)
}

/** The guest sees at once that a disk has become larger, and can use all of it. */
async function grows(t: ExecutionContext, api: ApiClient, guest: GuestConsole): Promise<void> {
  t.is((await api.put('/vm.resize-disk', { id: 'data', desired_size: 1024 })).status, 400)
  await api.change('/vm.resize-disk', { id: 'data', desired_size: 32 * 1024 * 1024 })
  await guest.check('until [ "$(cat /sys/block/vdb/size)" = 65536 ]; do sleep 0.1; done')
  await guest.check('echo last words | dd of=/dev/vdb bs=512 seek=65535 conv=fsync 2>/dev/null')
}

/** A MiB in two seconds, after the first. */
const slow = { rate_limiter_config: { bandwidth: { size: 1024 * 1024, refill_time: 2_000 } } }

async function isSlow(t: ExecutionContext, guest: GuestConsole): Promise<void> {
  const begin = performance.now()
  await guest.check('dd if=/dev/vdb of=/dev/null bs=1M count=4 iflag=direct 2>/dev/null')
  t.true(performance.now() - begin > 4_000)
}

async function addBoth(t: ExecutionContext, api: ApiClient, disk: object, network: TapNetwork) {
  const added = await api.put('/vm.add-disk', { ...disk, id: 'data' })
  t.deepEqual(added, { status: 200, json: { id: 'data', bdf: '0000:00:03.0' } })
  const card = await api.put('/vm.add-net', { tap: network.tap, mac, id: 'card' })
  t.deepEqual(card, { status: 200, json: { id: 'card', bdf: '0000:00:04.0' } })
}

for (const kernel of [debianKernel, customKernel]) {
  test.serial(`a disk and a card come, work, go and come again (${kernel.name})`, async t => {
    using workspace = new Workspace()
    await using network = await TapNetwork.create('tsvmm0', 201)
    const [socket, disk] = [workspace.path('api.sock'), dataDisk(workspace)]
    const api = new ApiClient(socket)
    await using vm = aGuest(socket, workspace.copy(rootDisk()), kernel)
    const { console: guest } = vm
    await guest.logIn()
    await addBoth(t, api, { path: disk }, network)
    t.is((await api.put('/vm.add-disk', { path: disk, id: 'other' })).status, 409)
    t.is((await api.put('/vm.add-disk', { path: `${disk}x` })).status, 500)
    await appears(guest, '/dev/vdb')
    await guest.check('echo first words > /dev/vdb; sync /dev/vdb')
    t.is(readFileSync(disk, 'latin1').slice(0, 11), 'first words')
    await grows(t, api, guest)
    await pings(guest, network)
    t.deepEqual(await devicesOf(api), { config: ['_disk0', 'data', 'card'], tree: ['_disk0', 'data', 'card'] })

    for (const id of ['data', 'card']) t.is((await api.put('/vm.remove-device', { id })).status, 204)
    await disappears(guest, '/dev/vdb')
    await until('both are gone', async () => (await devicesOf(api)).config.length === 1)
    t.deepEqual(await devicesOf(api), { config: ['_disk0'], tree: ['_disk0'] })
    t.false(isOpen(vm.pid, disk))
    const tasks = readdirSync(`/proc/${vm.pid}/task`).map(task => {
      return readFileSync(`/proc/${vm.pid}/task/${task}/comm`, 'utf8').trim()
    })
    t.deepEqual(
      tasks.filter(name => /^(data|card)/.test(name)),
      [],
    )

    await addBoth(t, api, { path: disk, ...slow }, network)
    await appears(guest, '/dev/vdb')
    t.is(await guest.check('head -c 11 /dev/vdb'), 'first words')
    t.is(await guest.check('dd if=/dev/vdb bs=512 skip=65535 2>/dev/null | head -c 10'), 'last words')
    await isSlow(t, guest)
    await pings(guest, network)
    const { exitCode, stderr } = await vm.powerOff()
    t.is(exitCode, 0, stderr)
  })
}

test.serial('what came stays over a reboot and in a snapshot, what shall go goes', async t => {
  using workspace = new Workspace()
  await using network = await TapNetwork.create('tsvmm0', 201)
  const [socket, disk, spare] = [workspace.path('api.sock'), dataDisk(workspace), dataDisk(workspace, 'spare.img')]
  const api = new ApiClient(socket)
  const [saved, leaving] = [workspace.path('saved'), workspace.path('leaving')]
  {
    await using vm = aGuest(socket, workspace.copy(rootDisk()))
    const { console: guest } = vm
    await guest.logIn()
    await api.change('/vm.add-disk', { path: spare, id: 'spare' })
    await appears(guest, '/dev/vdb')
    await guest.check('echo spare > /dev/vdb; sync /dev/vdb')
    const added = await api.put('/vm.add-disk', { path: disk, id: 'data' })
    t.deepEqual(added, { status: 200, json: { id: 'data', bdf: '0000:00:04.0' } })
    await appears(guest, '/dev/vdc')
    await guest.check('echo data > /dev/vdc; sync /dev/vdc')
    await api.change('/vm.remove-device', { id: 'spare' })
    await disappears(guest, '/dev/vdb')
    await until('the gap is there', async () => (await devicesOf(api)).config.length === 2)

    // Added and asked to go while it stands still: it hears of both when it goes on.
    await api.change('/vm.pause')
    const card = await api.put('/vm.add-net', { tap: network.tap, mac, id: 'card', pci_device_id: 9 })
    t.deepEqual(card, { status: 200, json: { id: 'card', bdf: '0000:00:09.0' } })
    await api.change('/vm.snapshot', { destination_url: saved })
    await api.change('/vm.remove-device', { id: 'data' })
    t.deepEqual((await devicesOf(api)).config, ['_disk0', 'data', 'card'])
    await api.change('/vm.snapshot', { destination_url: leaving })
    t.is((await api.put('/vmm.shutdown')).status, 200)
    await vm.exit()
  }
  {
    await using vm = new TsvmmProcess(['--restore', `source_url=${saved},resume=on`, '--api-socket', socket])
    const { console: guest } = vm
    await api.becomes('Running')
    t.is(await guest.check('head -c 4 /dev/vdc'), 'data')
    await pings(guest, network)
    await api.change('/vm.reboot')
    await guest.logIn()
    t.is(await guest.check('head -c 4 /dev/vdb'), 'data')
    await pings(guest, network)
    // A guest that does not get to it before it begins anew finds it gone.
    await api.change('/vm.pause')
    await api.change('/vm.remove-device', { id: 'data' })
    await api.change('/vm.reboot')
    t.deepEqual((await devicesOf(api)).config, ['_disk0', 'card'])
    await guest.logIn()
    t.is((await guest.run('[ -e /dev/vdb ]')).exitCode, 1)
    t.is((await api.put('/vmm.shutdown')).status, 200)
    await vm.exit()
  }
  await using vm = new TsvmmProcess(['--restore', `source_url=${leaving},resume=on`, '--api-socket', socket])
  await api.becomes('Running')
  await until('the guest has ejected it', async () => (await devicesOf(api)).config.length === 2)
  t.deepEqual(await devicesOf(api), { config: ['_disk0', 'card'], tree: ['_disk0', 'card'] })
  t.false(isOpen(vm.pid, disk))
  await pings(vm.console, network)
})

test.serial('every slot can be filled, and the guest may empty one by itself', async t => {
  using workspace = new Workspace()
  const socket = workspace.path('api.sock')
  const api = new ApiClient(socket)
  await using vm = aGuest(socket, workspace.copy(rootDisk()))
  const { console: guest } = vm
  await guest.logIn()
  t.is(await guest.check('ls /sys/bus/pci/slots | wc -l'), '31')
  // The root disk and the source of randomness have two.
  for (let count = 0; count < 29; count += 1) {
    const { status } = await api.put('/vm.add-disk', { path: dataDisk(workspace, `${count}.img`), id: `data${count}` })
    t.is(status, 200, `${count}`)
  }
  const full = await api.put('/vm.add-disk', { path: dataDisk(workspace, 'more.img') })
  t.is(full.status, 500)
  t.regex(JSON.stringify(full.json), /no PCI slots left: a segment has 31 for devices/)
  await guest.check('until [ "$(ls /sys/block | grep -c ^vd)" = 30 ]; do sleep 0.2; done')
  await guest.check('echo 0 > /sys/bus/pci/slots/17/power')
  await until('the slot is empty', async () => (await devicesOf(api)).config.length === 29)
  const again = await api.put('/vm.add-disk', { path: workspace.path('more.img') })
  t.like(again, { status: 200, json: { bdf: '0000:00:11.0' } })
  await guest.check('until [ "$(ls /sys/block | grep -c ^vd)" = 30 ]; do sleep 0.2; done')
  t.is((await vm.powerOff()).exitCode, 0)
})
