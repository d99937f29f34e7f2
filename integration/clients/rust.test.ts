import { truncateSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { execa } from 'execa'
import { ApiClient } from '../harness/api-client.ts'
import { debianKernel } from '../harness/artifacts.ts'
import { TsvmmProcess } from '../harness/tsvmm-process.ts'
import { Workspace } from '../harness/workspace.ts'

const client = new URL('../../dist/clients/rust-client', import.meta.url).pathname
const [, kernel = '', , , , initramfs = ''] = debianKernel.flags('')

test.serial('the Rust crate cloud-hypervisor-client drives a guest through its life', async t => {
  using workspace = new Workspace()
  const socket = workspace.path('api.sock')
  const disk = workspace.path('data.img')
  writeFileSync(disk, '')
  truncateSync(disk, 16 * 1024 * 1024)
  const config = workspace.path('vm.json')
  writeFileSync(
    config,
    JSON.stringify({
      payload: { kernel, initramfs, cmdline: 'console=ttyS0 quiet tsvmm.run=commands' },
      cpus: { boot_vcpus: 2, max_vcpus: 2 },
      memory: { size: 256 * 1024 * 1024 },
      disks: [{ path: disk }],
      ...{ serial: { mode: 'Tty' }, console: { mode: 'Off' } },
    }),
  )
  await using vm = new TsvmmProcess(['--api-socket', socket])
  await new ApiClient(socket).ready()
  const { stdout, stderr, exitCode } = await execa(client, [socket, config], { reject: false, timeout: 120_000 })
  t.is(exitCode, 0, `${stdout}\n${stderr}`)
  t.regex(
    stdout,
    /^53\.0\.0 tsvmm v.*\nCreated\nRunning\ndisk at 0000:00:01\.0\nPaused\nRunning\nRunning\nCreated\ndone$/,
  )
  t.is((await vm.exit()).exitCode, 0)
})
