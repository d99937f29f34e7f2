import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { ApiClient } from './harness/api-client.ts'
import { debianKernel, rootDisk } from './harness/artifacts.ts'
import type { GuestConsole } from './harness/guest-console.ts'
import { runTsvmm, TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

/** On a disk, which tmpfs is not: direct access needs one. */
const builds = new URL('../build', import.meta.url).pathname
const diskMebibytes = 32

/** Images of each format, and how QEMU makes one. The first is the raw disk that the others are compared with. */
const images = [
  { name: 'twin.img', format: 'raw', make: ['create', '-f', 'raw'], keys: '' },
  { name: 'plain.qcow2', format: 'qcow2', make: ['create', '-f', 'qcow2'], keys: ',image_type=qcow2,num_queues=2' },
  {
    ...{ name: 'overlay.qcow2', format: 'qcow2', keys: ',image_type=qcow2,backing_files=on,direct=on' },
    make: ['create', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2'],
  },
  {
    name: 'small.qcow2',
    format: 'qcow2',
    make: ['create', '-f', 'qcow2', '-o', 'cluster_size=4k'],
    keys: ',image_type=qcow2',
  },
  {
    name: 'disk.vhdx',
    format: 'vhdx',
    make: ['create', '-f', 'vhdx', '-o', 'block_size=1M'],
    keys: ',image_type=vhdx',
  },
  {
    ...{ name: 'disk.vhd', format: 'vpc', keys: ',image_type=vhd' },
    make: ['create', '-f', 'vpc', '-o', 'subformat=fixed,force_size=on'],
  },
] as const

const letters = images.map((_, index) => 'bcdefgh'[index])

/** Finds all disks equal; returns the checksum of what they hold. */
async function sumOf(guest: GuestConsole): Promise<string> {
  const [twin, ...others] = letters
  await guest.check('sync; echo 3 > /proc/sys/vm/drop_caches')
  await guest.check(`(for disk in ${others.join(' ')}; do cmp /dev/vd${twin} /dev/vd$disk || exit; done)`, 240_000)
  return guest.check(`sha256sum < /dev/vd${twin}`, 240_000)
}

/** Pieces of one to sixteen pages, at places that are the same for all disks. */
async function writeAtRandom(guest: GuestConsole, seed: number): Promise<void> {
  const pages = (diskMebibytes * 1024 * 1024) / 4096
  let state = seed
  const next = (limit: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return (state >>> 8) % limit
  }
  for (let piece = 0; piece < 12; piece += 1) {
    const count = 1 + next(16)
    const [skip, seek] = [next(2048 - count), next(pages - count)]
    const write = `dd if=/tmp/random of=/dev/vd$disk bs=4k count=${count} skip=${skip} seek=${seek} conv=notrunc 2>/dev/null`
    await guest.check(`for disk in ${letters.join(' ')}; do ${write} & done; wait`)
  }
}

test.serial('a guest writes to images of every format as to a raw disk, and others find them sound', async t => {
  using workspace = new Workspace()
  using storage = new Workspace(builds)
  const qemuImg = (...args: string[]) => execFileSync('qemu-img', args, { cwd: storage.directory, encoding: 'utf8' })
  // All begin as zeroes; the one that others stand on is compressed.
  qemuImg('create', '-q', '-f', 'raw', 'zeroes', `${diskMebibytes}M`)
  qemuImg('convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', 'compression_type=zstd', 'zeroes', 'base.qcow2')
  for (const { name, make } of images) qemuImg(...make.slice(0, 1), '-q', ...make.slice(1), name, `${diskMebibytes}M`)
  const socket = workspace.path('api.sock')
  const api = new ApiClient(socket)
  const saved = storage.path('saved')
  const root = workspace.copy(rootDisk())
  const sumWhenSaved = await (async () => {
    await using vm = new TsvmmProcess([
      ...['--api-socket', socket, ...debianKernel.flags('console=ttyS0 root=/dev/vda rw')],
      ...['--disk', `path=${root}`, ...images.map(({ name, keys }) => `path=${storage.path(name)}${keys}`)],
      ...['--cpus', 'boot=2', '--memory', 'size=512M', '--serial', 'tty', '--console', 'off'],
    ])
    const { console: guest } = vm
    await guest.logIn()
    await guest.check('head -c 8M /dev/urandom > /tmp/random', 120_000)
    await writeAtRandom(guest, 1)
    await guest.check(`for disk in ${letters.join(' ')}; do blkdiscard -z -o 3M -l 5M /dev/vd$disk; done`)
    const sum = await sumOf(guest)
    // Written and not flushed: a copy has it nevertheless.
    await api.change('/vm.pause')
    await api.change('/vm.snapshot', { destination_url: saved, disks: 'Copy' })
    await api.change('/vm.resume')
    await writeAtRandom(guest, 2)
    t.not(await sumOf(guest), sum)
    const { exitCode, stderr } = await vm.powerOff()
    t.is(exitCode, 0, stderr)
    return sum
  })()
  // Of the disks that it has the first is the root.
  const [twin, ...others] = images.map(({ format }, index) => ({ path: `${saved}/disk${index + 1}.img`, format }))
  for (const { path, format } of others) qemuImg('compare', '-q', '-f', 'raw', '-F', format, twin?.path ?? '', path)
  for (const { name, format } of images.slice(1)) {
    if (format !== 'vpc') qemuImg('check', '-q', '-f', format, name)
    qemuImg('compare', '-q', '-f', 'raw', '-F', format, 'twin.img', name)
  }
  mkdirSync(storage.path('copies'))
  await using vm = new TsvmmProcess(['restore', `${saved},disks=copy,disk_directory=${storage.path('copies')}`])
  await vm.console.check('echo 3 > /proc/sys/vm/drop_caches')
  t.is(await sumOf(vm.console), sumWhenSaved)
})

/** What of a qcow2 image is overwritten with what, and what the one line says then. Native tests have many more. */
const damages = [
  // Cluster bits.
  { at: 20, bytes: [0, 0, 0, 40], says: /its cluster bits are 40$/ },
  // Size.
  { at: 24, bytes: Array.from({ length: 8 }, () => 0xff), says: /is absurdly large: \d+$/ },
  // The L1 table's place.
  { at: 40, bytes: [0, 0, 0, 0, 0, 1, 0, 0], says: /the refcount table at 0x10000 overlaps the L1 table at 0x10000$/ },
]

test.serial('a damaged image, or one that names a file of the host, is refused and stays as it is', async t => {
  using workspace = new Workspace()
  const path = workspace.path('disk.qcow2')
  const secret = workspace.path('secret')
  writeFileSync(secret, 'x'.repeat(1024 * 1024))
  const make = (...args: string[]) => execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...args])
  const isRefused = async (keys: string, says: RegExp) => {
    const before = readFileSync(path)
    const disk = ['--disk', `path=${path},image_type=qcow2${keys}`]
    const { exitCode, stderr } = await runTsvmm([...debianKernel.flags('console=ttyS0'), ...disk, '--console', 'off'])
    t.is(exitCode, 1, stderr)
    t.regex(stderr, /^tsvmm: error: --disk [^\n]*\n?$/)
    t.regex(stderr.trim(), says)
    t.true(readFileSync(path).equals(before), 'the image has changed')
  }
  for (const { at, bytes, says } of damages) {
    make(path, '1M')
    const image = readFileSync(path)
    image.set(bytes, at)
    writeFileSync(path, image)
    await isRefused('', says)
  }
  make('-b', secret, '-F', 'raw', path)
  await isRefused('', /stands on another file, .*secret: say backing_files=on if that is to be opened$/)
  make('-u', '-b', `json:{"driver":"file","filename":"${secret}"}`, '-F', 'raw', path, '1M')
  await isRefused(',backing_files=on', /its backing file json:.* is not named by a path$/)
})
