import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { openDisk } from '../backends/disk.native.ts'
import { countingKernel } from './testing/counting-guest.ts'
import { Vm } from './vm.ts'

for (const postcopy of ['never', 'at-once'] as const) {
  test(`a machine moves while it runs, and goes on where it was (postcopy ${postcopy})`, async t => {
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
      memory: { size: 64 * 2 ** 20 },
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
    const receiving = Vm.receiveMigration(url, { onListening: () => ready.resolve() })
    await Promise.race([ready.promise, receiving])
    const report = await vm.sendMigration(url, { postcopy })
    t.log(report)
    const moved = await receiving
    t.is(vm.state, 'shutdown')
    t.is(moved.state, 'running')
    const last = codes.at(-1) ?? 0
    const [next] = await new Promise<[number]>(resolve => moved.once('debug-code', code => resolve([code])))
    // One that had begun anew would be at its first.
    t.true(((next - last) & 0xff) < 0x80, `${last}, then ${next}`)
    // What is added here is this one's at once.
    const added = join(place, 'added')
    writeFileSync(added, '')
    truncateSync(added, 2 ** 20)
    await moved.addDisk({ path: added })
    t.throws(() => openDisk({ path: added, isReadOnly: false, isDirect: false, isSparse: true }), {
      code: 'ERR_DISK_LOCKED',
    })
    await moved.close()
  })
}
