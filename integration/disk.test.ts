import { createHash } from 'node:crypto'
import { closeSync, createReadStream, ftruncateSync, openSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import test from 'ava'
import { debianKernel, rootDisk } from './harness/artifacts.ts'
import { TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const mebibyte = 1024 * 1024
const diskBytes = 256 * mebibyte
/** On a disk, which tmpfs is not: direct access needs one. */
const builds = new URL('../build', import.meta.url).pathname

async function sha256(path: string, lengthBytes: number): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path, { end: lengthBytes - 1 }), hash)
  return hash.digest('hex')
}

function emptyDisk(path: string): string {
  const fd = openSync(path, 'wx')
  ftruncateSync(fd, diskBytes)
  closeSync(fd)
  return path
}

const variants = [
  { title: 'one queue', keys: '', when: '' },
  { title: 'four queues', keys: ',num_queues=4,queue_size=256', when: '' },
  { title: 'direct', keys: ',direct=on', when: 'long: ' },
]

for (const { title, keys, when } of variants) {
  test.serial(`${when}what the guest writes to a disk (${title}) is in the file after sync and power-off`, async t => {
    using workspace = new Workspace()
    using storage = new Workspace(builds)
    const disk = emptyDisk(storage.path('data.img'))
    await using vm = new TsvmmProcess([
      ...debianKernel.flags('console=ttyS0 root=/dev/vda rw'),
      ...['--disk', `path=${workspace.copy(rootDisk())}`, `path=${disk},serial=tsvmm-data${keys}`],
      ...['--cpus', 'boot=4', '--memory', 'size=512M', '--serial', 'tty', '--console', 'off'],
    ])
    const { console: guest } = vm
    await guest.logIn()
    t.is(await guest.check('cat /sys/block/vdb/serial'), 'tsvmm-data')
    t.is(await guest.check('cat /sys/block/vdb/size'), String(diskBytes / 512))

    await guest.check('head -c 96M /dev/urandom > /tmp/random', 120_000)
    const writers = [0, 1, 2, 3].map(
      part => `dd if=/tmp/random of=/dev/vdb bs=24M count=1 skip=${part} seek=${part} conv=notrunc 2>/dev/null`,
    )
    await guest.check(`${writers.join(' & ')} & wait; sync`, 120_000)
    const [written = ''] = (await guest.check('sha256sum < /tmp/random', 120_000)).split(' ')
    await guest.check('echo 3 > /proc/sys/vm/drop_caches')
    t.is((await guest.check('head -c 96M /dev/vdb | sha256sum', 120_000)).split(' ')[0], written)

    await guest.check('blkdiscard -o 0 -l 1M /dev/vdb && blkdiscard -z -o 1M -l 1M /dev/vdb && sync')
    const [zeroed = ''] = (await guest.check('head -c 96M /dev/vdb | sha256sum', 120_000)).split(' ')
    t.not(zeroed, written)
    const { exitCode, stderr } = await vm.powerOff()
    t.is(exitCode, 0, stderr)
    t.is(await sha256(disk, 96 * mebibyte), zeroed)
  })
}

test.serial('a read-only disk refuses writes and leaves the file as it was', async t => {
  using workspace = new Workspace()
  const disk = emptyDisk(workspace.path('data.img'))
  const before = await sha256(disk, diskBytes)
  await using vm = new TsvmmProcess([
    ...debianKernel.flags('console=ttyS0 root=/dev/vda rw'),
    ...['--disk', `path=${workspace.copy(rootDisk())}`, `path=${disk},readonly=on`],
    ...['--memory', 'size=512M', '--serial', 'tty', '--console', 'off'],
  ])
  await vm.console.logIn()
  t.is(await vm.console.check('cat /sys/block/vdb/ro'), '1')
  t.not((await vm.console.run('dd if=/dev/zero of=/dev/vdb bs=4k count=1 oflag=direct 2>&1')).exitCode, 0)
  t.is((await vm.powerOff()).exitCode, 0)
  t.is(await sha256(disk, diskBytes), before)
})
