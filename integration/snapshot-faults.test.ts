import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import test from 'ava'
import { execa } from 'execa'
import { ApiClient } from './harness/api-client.ts'
import { debianKernel } from './harness/artifacts.ts'
import { runTsvmm, TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

/** A file system of its own, in memory. */
async function mounted(path: string, options: string): Promise<AsyncDisposable> {
  mkdirSync(path)
  await execa('mount', ['-t', 'tmpfs', '-o', options, 'none', path])
  return {
    [Symbol.asyncDispose]: async () => {
      await execa('umount', [path])
    },
  }
}

test('where there is no room for a snapshot the machine goes on, and nothing is left', async t => {
  using workspace = new Workspace()
  const socket = workspace.path('api.sock')
  const api = new ApiClient(socket)
  await using vm = new TsvmmProcess([
    ...['--api-socket', socket, ...debianKernel.flags('console=ttyS0 quiet tsvmm.run=commands')],
    ...['--cpus', 'boot=1', '--memory', 'size=256M', '--serial', 'tty', '--console', 'off'],
  ])
  await vm.console.waitFor(/tsvmm# $/, 120_000)
  let lines = 0
  const refused = async (path: string, reason: RegExp, more: object = {}) => {
    const { status, json } = await api.put('/vm.snapshot', { destination_url: `file://${path}`, ...more })
    t.is(status, 500, path)
    t.regex(JSON.stringify(json), reason)
    t.is(await api.state(), 'Running')
    lines += 1
    vm.console.type(`echo still $((${lines}))\n`)
    await vm.console.waitFor(new RegExp(`still ${lines}\\n`))
  }

  const small = workspace.path('small')
  await using _small = await mounted(small, 'size=8m')
  for (const memory_form of ['Image', 'Zstd']) {
    await refused(`${small}/one`, /small\/one\/memory\.(img|zst): pwrite: No space left on device/, { memory_form })
    t.deepEqual(readdirSync(small), [])
  }

  const readOnly = workspace.path('read-only')
  await using _readOnly = await mounted(readOnly, 'ro')
  await refused(`${readOnly}/one`, /read-only\/one: read-only file system/)

  // What fits once does not fit twice.
  const tight = workspace.path('tight')
  await using _tight = await mounted(tight, 'size=100m')
  await api.change('/vm.snapshot', { destination_url: `file://${tight}/one` })
  const manifest = readFileSync(`${tight}/one/manifest.json`)
  await refused(`${tight}/one`, /no space left on device/i, { overwrite: true })
  t.deepEqual(readdirSync(tight), ['one'])
  t.deepEqual(readFileSync(`${tight}/one/manifest.json`), manifest)
  const { exitCode, stderr } = await runTsvmm(['snapshot', 'verify', `${tight}/one`])
  t.is(exitCode, 0, stderr)

  await api.change('/vm.snapshot', { destination_url: `file://${workspace.path('roomy')}` })
  t.is((await api.put('/vmm.shutdown')).status, 200)
  await vm.exit()
})
