/** Boots a machine and talks to it on its serial port: node console.ts vmlinux initramfs */
import { once } from 'node:events'
import { mkdtempDisposable } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Vm } from 'tsvmm'

const [kernel = 'vmlinux', initramfs] = process.argv.slice(2)
await using folder = await mkdtempDisposable('/tmp/machine-')
const socket = join(folder.path, 'serial.sock')

await using vm = await Vm.create({
  payload: { kernel, initramfs, cmdline: 'console=ttyS0' },
  serial: { mode: 'Socket', socket },
  console: { mode: 'Off' },
})

let shown = ''
const serial = connect(socket).setEncoding('utf8')
serial.on('data', (text: string) => {
  shown += text
})

/** What the guest shows up to its next prompt. */
async function answer(line?: string): Promise<string> {
  shown = ''
  if (line !== undefined) serial.write(`${line}\n`)
  while (!shown.endsWith('# ')) await once(serial, 'data')
  return shown
}

await once(serial, 'connect')
await vm.boot()
await answer()
console.log(await answer('uname -a'))
serial.write('poweroff -f\n')
console.log(await vm.wait()) // { kind: 'power-off' }
