import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ApiClient } from '../../integration/harness/api-client.ts'
import { TapNetwork } from '../../integration/harness/tap-network.ts'
import { TsvmmProcess } from '../../integration/harness/tsvmm-process.ts'

/** Runs in the lab, for scripts/make-golden-snapshot: a machine with every device, saved while its guest drives them. */
const { LAB_OUT: out } = process.env
if (out === undefined) throw new Error('this runs in the lab: scripts/make-golden-snapshot')
mkdirSync(out, { recursive: true })
const disk = join(out, 'disk.img')
writeFileSync(disk, '')
truncateSync(disk, 64 * 1024)
await using network = await TapNetwork.create('tsvmmgold', 77)
const socket = '/tmp/golden.sock'
await using vm = new TsvmmProcess([
  ...['--api-socket', socket, '--kernel', 'dist/golden-guest.elf', '--cpus', 'boot=2', '--memory', 'size=32M'],
  ...['--disk', `path=${disk}`, '--net', `tap=${network.tap},mac=12:34:56:78:90:ab`],
  ...['--serial', 'tty', '--console', 'file=/dev/null'],
])
await vm.console.waitFor(/tick 10 ok/)
const api = new ApiClient(socket)
// Paused: the disk is as the guest left it.
await api.change('/vm.pause')
await api.change('/vm.snapshot', {
  ...{ destination_url: join(out, 'snapshot'), memory_form: 'Zstd', compression_level: 19 },
})
await api.change('/vmm.shutdown')
await vm.exit()
