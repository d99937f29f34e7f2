import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import test from 'ava'
import { Vm } from '../src/index.ts'
import { debianKernel } from './harness/artifacts.ts'
import { Workspace } from './harness/workspace.ts'

const [, kernel = '', , , , initramfs = ''] = debianKernel.flags('')

async function until(condition: () => boolean, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms`)
    await delay(50)
  }
}

function machine(serialLog: string, run: string) {
  return Vm.create({
    payload: { kernel, initramfs, cmdline: `console=ttyS0 quiet ${run}` },
    memory: { size: 256 * 1024 * 1024 },
    serial: { mode: 'File', file: serialLog },
    console: { mode: 'Off' },
  })
}

test.serial('a machine runs to its power-off and says so', async t => {
  using workspace = new Workspace()
  const log = workspace.path('serial.log')
  await using vm = await machine(log, 'tsvmm.run=poweroff')
  t.is(vm.state, 'created')
  await vm.boot()
  t.is(vm.state, 'running')
  t.deepEqual(await vm.wait(), { kind: 'power-off' })
  t.is(vm.state, 'shutdown')
  t.regex(readFileSync(log, 'utf8'), /TSVMM-INIT-READY/)
  await t.throwsAsync(vm.pause(), { code: 'ERR_VM_STATE' })
})

test.serial('an idle guest makes no traps, and a paused one nothing at all', async t => {
  using workspace = new Workspace()
  const log = workspace.path('serial.log')
  await using vm = await machine(log, '')
  await vm.boot()
  await until(() => readFileSync(log, 'utf8').includes('TSVMM-INIT-READY'), 60_000)
  await delay(5_000)
  const before = vm.exitCounters()
  await delay(3_000)
  const after = vm.exitCounters()
  t.is(after.trapped, before.trapped)
  t.is(after.wakeups, before.wakeups)

  await vm.pause()
  t.is(vm.state, 'paused')
  await vm.pause()
  const paused = vm.exitCounters()
  await delay(500)
  t.deepEqual(vm.exitCounters(), paused)
  await vm.resume()
  t.is(vm.state, 'running')
  await vm.shutdown()
  t.deepEqual(await vm.wait(), { kind: 'stopped' })
})

test.serial('several machines run in one process, and a wait can be given up', async t => {
  using workspace = new Workspace()
  const logs = [0, 1, 2].map(index => workspace.path(`serial-${index}.log`))
  await using first = await machine(logs[0] ?? '', '')
  await using second = await machine(logs[1] ?? '', 'tsvmm.run=poweroff')
  await using third = await machine(logs[2] ?? '', 'tsvmm.run=poweroff')
  await Promise.all([first.boot(), second.boot(), third.boot()])
  t.deepEqual(await second.wait(), { kind: 'power-off' })
  t.deepEqual(await third.wait(), { kind: 'power-off' })
  t.is(first.state, 'running')
  await t.throwsAsync(first.wait({ signal: AbortSignal.timeout(10) }), { name: 'TimeoutError' })
})

test.serial('a guest that reboots is rebuilt in place', async t => {
  using workspace = new Workspace()
  const log = workspace.path('serial.log')
  await using vm = await machine(log, 'tsvmm.run=reboot')
  const bootsSeen: number[] = []
  vm.on('rebooted', () => {
    bootsSeen.push(readFileSync(log, 'utf8').split('TSVMM-INIT-READY').length - 1)
  })
  await vm.boot()
  await until(() => bootsSeen.length >= 3, 180_000)
  t.is(vm.state, 'running')
  // The guest tries several ways to reset, one after the other: together they are one reboot.
  t.deepEqual(bootsSeen.slice(0, 3), [1, 2, 3])
})
