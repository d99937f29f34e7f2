import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { writeCoreDump } from './core-dump.ts'
import { FakeMachines } from './testing/fake-machine.ts'
import { Vmm } from './vmm.ts'

function aPath(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-core-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return join(folder, 'core')
}

const never = new AbortController().signal
const mebibyte = 1024 * 1024

test('memory is where the layout says, and zeroes are a hole', async t => {
  const path = aPath(t)
  const segments = [
    { guestAddress: 0, sizeBytes: 64 * mebibyte, offset: 4096 },
    { guestAddress: 0x1_0000_0000, sizeBytes: 4096, offset: 4096 + 64 * mebibyte },
  ]
  const read = (address: number, size: number) =>
    new Uint8Array(size).fill(address >= 0x1_0000_0000 || address === 3 * mebibyte ? 7 : 0)
  await writeCoreDump(path, { header: Uint8Array.of(1, 2, 3), segments, read }, never)
  const written = readFileSync(path)
  t.is(written.length, 8192 + 64 * mebibyte)
  t.deepEqual([...written.subarray(0, 4)], [1, 2, 3, 0])
  t.deepEqual(
    [written[4095 + 3 * mebibyte], written[4096 + 3 * mebibyte], written.at(-4097), written.at(-1)],
    [0, 7, 0, 7],
  )
  const { blocks, mode } = statSync(path)
  t.true(512 * blocks < 4 * mebibyte, `${blocks} blocks`)
  t.is(mode & 0o777, 0o600)
})

test('what is there is not written over, and what fails leaves nothing', async t => {
  const path = aPath(t)
  const core = {
    header: Uint8Array.of(1),
    segments: [{ guestAddress: 0, sizeBytes: 4096, offset: 4096 }],
    read: () => new Uint8Array(4096),
  }
  writeFileSync(path, 'precious')
  await t.throwsAsync(writeCoreDump(path, core, never), {
    code: 'ERR_CORE_DUMP',
    message: `core dump ${path}: file already exists`,
  })
  t.is(readFileSync(path, 'utf8'), 'precious')
  const other = `${path}2`
  const lost = AbortSignal.abort(new Error('the memory is lost'))
  await t.throwsAsync(writeCoreDump(other, core, lost), { message: /the memory is lost/ })
  t.false(existsSync(other))
  await t.throwsAsync(writeCoreDump('/nowhere/core', core, never), { code: 'ERR_CORE_DUMP' })
})

test('a machine that runs goes on when its core is written, also where that fails', async t => {
  const path = aPath(t)
  const machines = new FakeMachines()
  await using vmm = new Vmm({ createVm: machines.createVm })
  await t.throwsAsync(vmm.coredump(path), { code: 'ERR_VM_NOT_RUNNING' })
  await vmm.create({ payload: { kernel: 'k' } })
  await vmm.boot()
  await vmm.coredump(path)
  t.is(readFileSync(path).length, 8192)
  t.deepEqual(machines.steps.slice(-2), ['pause', 'resume'])
  await t.throwsAsync(vmm.coredump(path), { code: 'ERR_CORE_DUMP' })
  t.is(vmm.state, 'running')
  await vmm.pause()
  await vmm.coredump(`${path}2`)
  t.is(vmm.state, 'paused')
})
