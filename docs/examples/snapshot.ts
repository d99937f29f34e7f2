/** Saves a machine while it runs, and lets a second one go on from there: node snapshot.ts vmlinux initramfs */
import { mkdtempDisposable } from 'node:fs/promises'
import { join } from 'node:path'
import { Vm } from 'tsvmm'

const [kernel = 'vmlinux', initramfs] = process.argv.slice(2)
await using folder = await mkdtempDisposable('/tmp/machine-')
const snapshot = join(folder.path, 'snapshot')

{
  await using vm = await Vm.create({
    payload: { kernel, initramfs, cmdline: 'console=ttyS0' },
    serial: { mode: 'File', file: join(folder.path, 'serial.log') },
    console: { mode: 'Off' },
  })
  vm.on('snapshotted', ({ pausedMs = 0 }) => console.log(`saved; it stood still for ${pausedMs.toFixed(0)} ms`))
  await vm.boot()
  await vm.snapshot(snapshot)
  console.log(`the first machine is ${vm.state}`)
}

await using restored = await Vm.restore(snapshot, {
  resume: true,
  overrides: { serial: { mode: 'File', file: join(folder.path, 'restored.log') } },
})
console.log(`the second machine is ${restored.state}`)
