import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { openDisk } from '../backends/disk.native.ts'
import { buildMachine } from '../machine/build.ts'
import { beginCode, countingKernel } from './testing/counting-guest.ts'
import { Vm } from './vm.ts'

for (const way of [{}, { postcopy: 'at-once' }, { isLocal: true }] as const) {
  test(`a machine moves while it runs, and goes on where it was ${JSON.stringify(way)}`, async t => {
    const place = mkdtempSync(join(tmpdir(), 'tsvmm-move-'))
    t.teardown(() => rmSync(place, { recursive: true, force: true }))
    const kernel = join(place, 'kernel')
    writeFileSync(kernel, countingKernel())
    const disk = join(place, 'disk')
    writeFileSync(disk, '')
    truncateSync(disk, 2 ** 20)
    const image = join(place, 'image')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', image, '1M'])
    const url = `unix:${join(place, 'socket')}`
    const vm = await Vm.create({
      payload: { kernel },
      memory: { size: 64 * 2 ** 20, shared: 'isLocal' in way },
      disks: [{ path: disk }, { path: image, image_type: 'Qcow2' }],
      console: { mode: 'Off' },
      serial: { mode: 'Off' },
    })
    const codes: number[] = []
    const counted = Promise.withResolvers<void>()
    vm.on('debug-code', code => {
      codes.push(code)
      if (codes.length === 3) counted.resolve()
    })
    await vm.boot()
    await counted.promise
    const ready = Promise.withResolvers<void>()
    const arrived: number[] = []
    const receiving = Vm.receiveWith(buildMachine, url, {
      onListening: () => ready.resolve(),
      onVm: each => each.on('debug-code', code => arrived.push(code)),
    })
    await Promise.race([ready.promise, receiving])
    const isLocked = (path: string) => {
      const isHeld = () => openDisk({ path, isReadOnly: false, isDirect: false, isSparse: true }).close()
      return t.throws(isHeld, { code: 'ERR_DISK_LOCKED' }) !== undefined
    }
    // Nobody else can get disks that are handed over.
    const watch = 'isLocal' in way ? setInterval(() => [disk, image].forEach(isLocked), 2) : undefined
    const report = await vm.sendMigration(url, way)
    t.log(report)
    const moved = await receiving
    clearInterval(watch)
    isLocked(disk)
    isLocked(image)
    t.is(vm.state, 'shutdown')
    t.is(moved.state, 'running')
    await nextCode(moved)
    t.is(codes[0], beginCode)
    t.false(arrived.includes(beginCode), 'it has begun anew')
    // What is added here is this one's at once.
    const added = join(place, 'added')
    writeFileSync(added, '')
    truncateSync(added, 2 ** 20)
    await moved.addDisk({ path: added })
    isLocked(added)
    await moved.close()
    for (const path of [disk, image]) openDisk({ path, isReadOnly: false, isDirect: false, isSparse: true }).close()
  })
}

test('a machine that was restored on demand is handed over with all of its memory', async t => {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-move-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const kernel = join(place, 'kernel')
  writeFileSync(kernel, countingKernel())
  const snapshot = join(place, 'snapshot')
  {
    await using vm = await Vm.create({
      payload: { kernel },
      memory: { size: 64 * 2 ** 20, shared: true },
      console: { mode: 'Off' },
      serial: { mode: 'Off' },
    })
    await vm.boot()
    await nextCode(vm)
    await vm.snapshot(snapshot)
  }
  // It stands still: nobody has touched what it needs.
  const vm = await Vm.restore(snapshot, { mode: 'ondemand' })
  const url = `unix:${join(place, 'socket')}`
  const ready = Promise.withResolvers<void>()
  const receiving = Vm.receiveMigration(url, { onListening: () => ready.resolve() })
  await Promise.race([ready.promise, receiving])
  await vm.sendMigration(url, { isLocal: true })
  await using moved = await receiving
  t.is(moved.state, 'paused')
  await moved.resume()
  await nextCode(moved)
})

function nextCode(vm: Vm): Promise<number> {
  return new Promise(resolve => vm.once('debug-code', resolve))
}
