import test, { type ExecutionContext } from 'ava'
import { debianKernel, kernels, rootDisk, seedDisk } from './harness/artifacts.ts'
import { TapNetwork } from './harness/tap-network.ts'
import { TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const cpuCounts = [1, 2, 4]

for (const kernel of kernels) {
  for (const cpus of cpuCounts) {
    // Every kernel on one vCPU and one kernel on several is what each change is tested with; the rest takes long.
    const when = cpus > 1 && kernel !== debianKernel ? 'long: ' : ''
    test.serial(`${when}${kernel.name} boots to a login with ${cpus} vCPUs, reboots and powers off`, async t => {
      using workspace = new Workspace()
      await using network = await TapNetwork.create('tsvmm0', 201)
      await using vm = new TsvmmProcess([
        ...kernel.flags('console=ttyS0 root=/dev/vda rw'),
        ...['--disk', `path=${workspace.copy(rootDisk())}`, `path=${seedDisk()},readonly=on`],
        ...['--cpus', `boot=${cpus}`, '--memory', 'size=512M'],
        ...['--net', `tap=${network.tap},mac=12:34:56:78:90:ab`],
        ...['--serial', 'tty', '--console', 'off'],
      ])
      await vm.console.logIn()
      t.is(await vm.console.check('nproc'), String(cpus))
      await devicesAreThere(t, vm)
      await kernelLogIsClean(t, vm)

      vm.console.type('reboot\n')
      await vm.console.logIn()
      t.is(await vm.console.check('nproc'), String(cpus), 'all vCPUs are back after a reboot')
      t.true(Number(await vm.console.check('cut -d. -f1 /proc/uptime')) < 120)

      const { exitCode, stderr } = await vm.powerOff()
      t.is(exitCode, 0, stderr)
    })
  }
}

async function devicesAreThere(t: ExecutionContext, vm: TsvmmProcess): Promise<void> {
  const pci = await vm.console.check('lspci -n')
  t.regex(pci, /^00:00\.0 0600: 8086:0d57/m)
  t.is([...pci.matchAll(/: 1af4:1042/g)].length, 2, `two disks:\n${pci}`)
  t.is([...pci.matchAll(/ 0200: 1af4:1041/g)].length, 1, `one network card:\n${pci}`)
  t.is([...pci.matchAll(/: 1af4:1044/g)].length, 1, `one random source:\n${pci}`)

  const interrupts = await vm.console.check('cat /proc/interrupts')
  t.regex(interrupts, /virtio\d+-req\.0/)
  t.regex(interrupts, /ttyS0/)
  t.regex(interrupts, /ERR:\s+0/)
  t.regex(interrupts, /MIS:\s+0/)
}

/** Errors and warnings that Debian's kernel prints on any machine of this kind, whatever the VMM. */
const expectedOnAnyMachine = [
  /Speculative Return Stack Overflow|Spectre|RETBleed|MDS|TAA|MMIO Stale Data/,
  /systemd|udevd/,
  /EXT4-fs|fsck/,
  /Unknown kernel command line parameters/,
  /kvm: no hardware support/,
]

/** What the nested lab adds: its processor has no invariant time stamp counter, and its host may be busy. */
const expectedInTheLab = [
  /clocksource: Long readout interval|hpet: Lost \d+ RTC interrupts|hrtimer: interrupt took \d+ ns/,
  /Unstable clock detected|If you want to keep using the local clock|"trace_clock=local"|on the kernel command line/,
  /clocksource: timekeeping watchdog on CPU\d+|clocksource: +'(tsc|kvm-clock|hpet|acpi_pm)'/,
  /TSC found unstable after boot|Marking TSC unstable|sched_clock: Marking unstable/,
]

const expected = [...expectedOnAnyMachine, ...(process.env['TSVMM_LAB'] === '1' ? expectedInTheLab : [])]

async function kernelLogIsClean(t: ExecutionContext, vm: TsvmmProcess): Promise<void> {
  const log = await vm.console.check(
    'dmesg --level=emerg,alert,crit,err,warn 2>/dev/null || dmesg -r | grep -E "^<[0-4]>" || true',
  )
  const lines = log.split('\n').filter(line => line !== '' && !expected.some(known => known.test(line)))
  t.deepEqual(lines, [], 'dmesg has no error or warning')
}
