import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import { execa } from 'execa'
import { ApiClient } from './harness/api-client.ts'
import { debianKernel } from './harness/artifacts.ts'
import { TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const programs = new URL('../dist/clients', import.meta.url).pathname
const [, kernel = '', , , , initramfs = ''] = debianKernel.flags('')

function emptyDisk(path: string): string {
  writeFileSync(path, '')
  truncateSync(path, 16 * 1024 * 1024)
  return path
}

/** Runs a client with a socket, a configuration, a disk to add and a place for a snapshot; returns what it printed. */
async function drive(t: ExecutionContext, client: readonly [string, ...string[]]): Promise<string> {
  using workspace = new Workspace()
  const socket = workspace.path('api.sock')
  const config = workspace.path('vm.json')
  const machine = {
    payload: { kernel, initramfs, cmdline: 'console=ttyS0 quiet tsvmm.run=commands' },
    cpus: { boot_vcpus: 2, max_vcpus: 2 },
    memory: { size: 256 * 1024 * 1024 },
    disks: [{ path: emptyDisk(workspace.path('data.img')) }],
    ...{ serial: { mode: 'Tty' }, console: { mode: 'Off' } },
  }
  writeFileSync(config, JSON.stringify(machine))
  const saved = workspace.path('saved')
  mkdirSync(saved)
  await using vm = new TsvmmProcess(['--api-socket', socket])
  await new ApiClient(socket).ready()
  const [program, ...args] = client
  const disk = emptyDisk(workspace.path('extra.img'))
  const options = { reject: false, timeout: 300_000 }
  const { stdout, stderr, exitCode } = await execa(program, [...args, socket, config, disk, saved], options)
  t.is(exitCode, 0, `${stdout}\n${stderr}`)
  t.is((await vm.exit()).exitCode, 0)
  return stdout
}

test.serial('long: the Rust crate cloud-hypervisor-client drives a guest through its life', async t => {
  t.regex(
    await drive(t, [`${programs}/rust-client`]),
    /^53\.0\.0 tsvmm v.*\nCreated\nRunning\ndisk at 0000:00:01\.0\nextra at 0000:00:03\.0\ncard at 0000:00:04\.0\nPaused\nRunning\nRunning\nCreated\nPaused\nRunning\ndone$/,
  )
})

test.serial('a client that is generated from the description of the API drives a guest through its life', async t => {
  t.regex(
    await drive(t, [process.execPath, `${programs}/openapi-client.js`]),
    /^53\.0\.0\nCreated\nRunning\nextra at 0000:00:03\.0\ncard at 0000:00:04\.0\nPaused\nRunning\nCreated\nPaused\nRunning\ndone$/,
  )
})
