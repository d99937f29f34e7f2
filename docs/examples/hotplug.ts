/** Gives a machine a disk while it runs: node hotplug.ts vmlinux initramfs */
import { mkdtempDisposable, open } from 'node:fs/promises'
import { join } from 'node:path'
import { Vm } from 'tsvmm'

const [kernel = 'vmlinux', initramfs] = process.argv.slice(2)
await using folder = await mkdtempDisposable('/tmp/machine-')
const path = join(folder.path, 'disk.img')
{
  await using file = await open(path, 'w')
  await file.truncate(64 * 2 ** 20)
}

await using vm = await Vm.create({
  payload: { kernel, initramfs, cmdline: 'console=ttyS0' },
  serial: { mode: 'File', file: join(folder.path, 'serial.log') },
  console: { mode: 'Off' },
})
vm.on('device-removed', id => console.log(`the guest has given up ${id}`))
await vm.boot()

const disk = await vm.addDisk({ path })
console.log(disk) // { id: '_disk0', pciAddress: '0000:00:02.0' }
await vm.resizeDisk(disk.id, 128 * 2 ** 20)
console.log(vm.config.disks.map(({ id }) => id))

// The guest is asked: it answers when it has a driver for that.
await vm.removeDevice(disk.id)
