import test from 'ava'
import { debianKernel, fwtsDisk } from './harness/artifacts.ts'
import { TsvmmProcess } from './harness/tsvmm-process.ts'

/** Of the firmware test suite: what looks at ACPI and SMBIOS tables, and runs the control methods. */
const suites = [
  ...['acpitables', 'checksum', 'fadt', 'madt', 'apicinstance', 'mcfg', 'rsdp', 'rsdt', 'xsdt'],
  ...['method', 'syntaxcheck', 'crs', 'ebda', 'dmicheck'],
]

/** Names that their specifications want, and whose form is not ACPI's. */
const givenNames = ['VMGENCTR', 'VM_GEN_COUNTER', 'VMCLOCK']

function isGiven(failure: string): boolean {
  return givenNames.some(name => failure.includes(`_CID returned a string '${name}' but it was not a valid PNP ID`))
}

test.serial('long: the firmware test suite finds no failure in the guest’s tables', async t => {
  await using vm = new TsvmmProcess([
    // Some look at memory that the guest's kernel uses, too.
    ...debianKernel.flags('console=ttyS0 quiet root=/dev/vda ro init=/fwts-init iomem=relaxed'),
    ...['--disk', `path=${fwtsDisk()},readonly=on`, '--cpus', 'boot=2', '--memory', 'size=512M'],
    ...['--serial', 'tty', '--console', 'off'],
  ])
  await vm.console.waitFor(/tsvmm# /)
  for (const suite of suites) {
    vm.console.type(`fwts --quiet --results-output=stdout --log-width=200 ${suite}\n`)
    const [report] = await vm.console.waitFor(/[\s\S]*?status \d+\n/, 300_000)
    const [, passed, failed] = /(\d+) passed, (\d+) failed/.exec(report) ?? []
    const given = (report.match(/FAILED \[[^\n]*/g) ?? []).filter(isGiven)
    t.is(Number(failed), given.length, `${suite}:\n${report}`)
    t.true(Number(passed) > 0, `${suite}:\n${report}`)
  }
  vm.console.type('poweroff -f\n')
  t.is((await vm.exit()).exitCode, 0)
})
