/** Makes many machines of one that runs, which share its memory: node clones.ts vmlinux initramfs */
import { mkdtempDisposable } from 'node:fs/promises'
import { join } from 'node:path'
import { Vm } from 'tsvmm'

const [kernel = 'vmlinux', initramfs] = process.argv.slice(2)
await using folder = await mkdtempDisposable('/tmp/machine-')

await using vm = await Vm.create({
  payload: { kernel, initramfs, cmdline: 'console=ttyS0' },
  serial: { mode: 'File', file: join(folder.path, 'serial.log') },
  console: { mode: 'Off' },
})
await vm.boot()

// {n} is the number of the clone: what cannot be shared is elsewhere for each.
const clones = await vm.fork(4, {
  resume: true,
  overrides: { serial: { mode: 'File', file: join(folder.path, 'serial-{n}.log') } },
})
await using all = new AsyncDisposableStack()
for (const clone of clones) all.use(clone)
console.log(clones.map(clone => clone.state))
