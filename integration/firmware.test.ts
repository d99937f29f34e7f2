import test from 'ava'
import { edk2Firmware, efiDisk, rootDisk } from './harness/artifacts.ts'
import { TapNetwork } from './harness/tap-network.ts'
import { runTsvmm, TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

/** Answers a line of shell at the prompt of the initramfs. */
async function ask(vm: TsvmmProcess, line: string): Promise<string> {
  vm.console.type(`${line}\n`)
  const [text] = await vm.console.waitFor(/[\s\S]*?status 0\n/)
  return text.replace(/tsvmm# |status 0\n/g, '').trim()
}

async function boots(vm: TsvmmProcess): Promise<void> {
  await vm.console.waitFor(/TSVMM-GRUB-READY/, 120_000)
  await vm.console.waitFor(/TSVMM-INIT-READY[\s\S]*tsvmm# $/, 120_000)
}

const machines = [
  { cpus: 1, memory: '512M' },
  // More memory than fits below the devices' addresses.
  { cpus: 2, memory: '4G' },
]

for (const { cpus, memory } of machines) {
  test.serial(`edk2 boots a kernel by GRUB with ${cpus} vCPUs and ${memory}, and again when it reboots`, async t => {
    using workspace = new Workspace()
    await using network = await TapNetwork.create('tsvmm0', 201)
    await using vm = new TsvmmProcess([
      ...['--firmware', edk2Firmware(), '--cpus', `boot=${cpus}`, '--memory', `size=${memory}`],
      ...['--disk', `path=${rootDisk()},readonly=on`, `path=${workspace.copy(efiDisk())}`],
      ...['--net', `tap=${network.tap}`, '--serial', 'tty', '--console', 'off'],
    ])
    for (const boot of ['first', 'second']) {
      await boots(vm)
      t.is(await ask(vm, 'ls -d /sys/firmware/efi'), '/sys/firmware/efi', `${boot} boot`)
      t.is(await ask(vm, 'nproc'), String(cpus))
      t.is(await ask(vm, 'ls /sys/block | grep -c ^vd'), '2')
      t.is(await ask(vm, 'cat /sys/class/dmi/id/sys_vendor'), 'Cloud Hypervisor')
      t.regex(await ask(vm, 'dmesg | grep "ACPI: RSDP"'), /CLOUDH/)
      if (boot === 'first') vm.console.type('reboot -f\n')
    }
    vm.console.type('poweroff -f\n')
    const { exitCode, stderr } = await vm.exit()
    t.is(exitCode, 0, stderr)
  })
}

test.serial('what is no firmware, or is given beside it, is refused in one line', async t => {
  const refused = async (args: readonly string[], message: RegExp) => {
    const { exitCode, stderr } = await runTsvmm([...args, '--console', 'off'])
    t.is(exitCode, 1, stderr)
    t.regex(stderr, message)
  }
  await refused(['--firmware', efiDisk()], /^tsvmm: error: --firmware .*: not firmware: [^\n]*$/)
  await refused(
    ['--firmware', edk2Firmware(), '--cmdline', 'quiet'],
    /^tsvmm: error: --firmware: does not go with --cmdline: it boots what is on the disks$/,
  )
})
