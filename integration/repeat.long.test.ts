import test from 'ava'
import { debianKernel } from './harness/artifacts.ts'
import { TsvmmProcess } from './harness/tsvmm-process.ts'

const boots = 50

test.serial(`long: ${boots} boots in a row reach init and power off`, async t => {
  t.timeout(60 * 60_000)
  for (let boot = 1; boot <= boots; boot += 1) {
    await using vm = new TsvmmProcess([
      ...debianKernel.flags('console=ttyS0 quiet tsvmm.run=poweroff'),
      ...['--cpus', `boot=${1 + (boot % 2)}`, '--memory', 'size=256M', '--serial', 'tty', '--console', 'off'],
    ])
    await vm.console.waitFor(/TSVMM-INIT-READY/, 120_000)
    const { exitCode, stderr } = await vm.exit()
    t.is(exitCode, 0, `boot ${boot}: ${stderr}`)
  }
})
