import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { type LabMachine, qemuArguments } from './machine.ts'
import { causeOfDeath } from './session.ts'

const machine: LabMachine = {
  emulator: 'qemu-system-x86_64',
  memoryMib: 1024,
  cpus: 1,
  processor: 'model',
  parallel: false,
  kernel: 'vmlinux',
  rootImage: 'root',
  runImage: 'run',
  modulesImage: 'modules',
  fixturesImage: 'fixtures',
  disks: ['extra,comma'],
  consoleLog: 'log',
  ports: { control: 'control', stdout: 'stdout', stderr: 'stderr' },
}

test('disks come in the order that the lab knows them by, and only the disk of the run is written to', t => {
  const args = qemuArguments(machine)
  const drives = args.filter((_, index) => args[index - 1] === '-drive')
  t.deepEqual(
    drives.map(drive => /file=([^=]*),format/.exec(drive)?.[1]),
    ['root', 'run', 'modules', 'fixtures', 'extra,,comma'],
  )
  t.deepEqual(
    drives.filter(drive => !drive.includes('snapshot=on')).map(drive => drive.includes('file=run,')),
    [true],
  )
})

test('the initramfs is only given with kernels that need it', t => {
  t.false(qemuArguments(machine).includes('-initrd'))
  t.true(qemuArguments({ ...machine, initrd: 'initrd' }).includes('-initrd'))
})

test('a death is told by the panic, else by what QEMU said last', t => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-session-test-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const log = join(folder, 'console.log')
  const warning = "qemu: warning: TCG doesn't support requested feature\n"
  t.is(causeOfDeath(log, warning, 0), 'QEMU ended (0) before the command did')
  t.is(causeOfDeath(log, `no such file\n${warning}`, 1), 'QEMU ended (1) before the command did: no such file')
  writeFileSync(log, '[ 1.0] Kernel panic - not syncing: Oops\r\n[ 1.1] more\r\n')
  t.is(causeOfDeath(log, 'no such file\n', 0), "the lab's kernel died: Kernel panic - not syncing: Oops")
})
