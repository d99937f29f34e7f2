/** Moves a machine while it runs, here to the same host: node migration.ts vmlinux initramfs */
import { mkdtempDisposable } from 'node:fs/promises'
import { join } from 'node:path'
import { Vm } from 'tsvmm'

const [kernel = 'vmlinux', initramfs] = process.argv.slice(2)
await using folder = await mkdtempDisposable('/tmp/machine-')

// There: between hosts this is `tcp:0.0.0.0:4711` in a network that nobody else is in.
const isListening = Promise.withResolvers<string>()
const arrival = Vm.receiveMigration(`unix:${join(folder.path, 'migration.sock')}`, {
  onListening: isListening.resolve,
  overrides: { serial: { mode: 'File', file: join(folder.path, 'serial-there.log') } },
})

// Here.
await using vm = await Vm.create({
  payload: { kernel, initramfs, cmdline: 'console=ttyS0' },
  serial: { mode: 'File', file: join(folder.path, 'serial-here.log') },
  console: { mode: 'Off' },
})
const [url] = await Promise.all([isListening.promise, vm.boot()])
const { downtimeMs } = await vm.sendMigration(url, { downtimeMs: 100 })
console.log(`it stood still for ${downtimeMs.toFixed(0)} ms`)
console.log(await vm.wait()) // { kind: 'moved' }

await using moved = await arrival
console.log(`there it is ${moved.state}`)
