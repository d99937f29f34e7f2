import { copyFileSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import { ApiClient } from './harness/api-client.ts'
import { customKernel, edk2Firmware, seedDisk, ubuntuLikeDisk } from './harness/artifacts.ts'
import { PhoneHome } from './harness/phone-home.ts'
import { TapNetwork } from './harness/tap-network.ts'
import { TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const macAddress = '12:34:56:78:90:ab'
const bootMs = 240_000

/** Flags of a machine with an image, its seed and a card, but for what it boots. */
function machine(image: string, tap: string): string[] {
  return [
    ...['--disk', `path=${image}`, `path=${seedDisk()},readonly=on`, '--net', `tap=${tap},mac=${macAddress}`],
    ...['--cpus', 'boot=1', '--memory', 'size=1G', '--serial', 'tty', '--console', 'off'],
  ]
}

/** The first boot, to the end of what the seed asks for. */
async function isSeeded(t: ExecutionContext, vm: TsvmmProcess, home: PhoneHome): Promise<void> {
  await vm.console.waitFor(/CLOUD-INIT-FINISHED after \d/, bootMs)
  t.is((await home.call()).get('hostname'), 'cloud-ubuntu')
  await isItself(t, vm)
}

/** Logs in as the seed says and finds all that it says. */
async function isItself(t: ExecutionContext, vm: TsvmmProcess): Promise<void> {
  vm.console.type('\n')
  await vm.console.logIn(bootMs, 'cloud', 'cloud123')
  t.is(await vm.console.check('hostname'), 'cloud-ubuntu')
  t.is(await vm.console.check('cat /etc/seeded'), 'by cloud-init')
  // Apart from the terminal, whose input sudo would take for the program's.
  t.is(await vm.console.check('setsid -w sudo -n id -u </dev/null'), '0')
  t.regex(await vm.console.check('ip -4 -o addr'), /192\.168\.249\.2\/24/)
  t.regex(await vm.console.check('ping -c 1 -W 10 192.168.249.1'), / 0% packet loss/)
}

async function powersOff(t: ExecutionContext, vm: TsvmmProcess): Promise<void> {
  vm.console.type('sudo poweroff\n')
  const { exitCode, stderr } = await vm.exit()
  t.is(exitCode, 0, stderr)
}

test.serial('a cloud image boots through edk2, is seeded, saved and restored, reboots and powers off', async t => {
  using workspace = new Workspace()
  await using network = await TapNetwork.create('tsvmm0', 249)
  await using home = await PhoneHome.listen(network.hostAddress)
  const image = workspace.copy(ubuntuLikeDisk())
  const socket = workspace.path('api.sock')
  const api = new ApiClient(socket)
  const path = workspace.path('saved')
  {
    await using vm = new TsvmmProcess([
      ...['--api-socket', socket, '--firmware', edk2Firmware()],
      ...machine(image, network.tap),
    ])
    await isSeeded(t, vm, home)
    t.is(await vm.console.check('ls -d /sys/firmware/efi'), '/sys/firmware/efi')
    await vm.console.check('echo saved > /tmp/when')
    await api.change('/vm.pause')
    await api.change('/vm.snapshot', { destination_url: `file://${path}` })
    copyFileSync(image, `${image}.saved`)
    await api.change('/vm.resume')
    await vm.console.check('echo later > /tmp/when')
    vm.console.type('sudo reboot\n')
    await vm.console.waitFor(/CLOUD-INIT-FINISHED after \d/, bootMs)
    await isItself(t, vm)
    t.true(Number(await vm.console.check('cut -d. -f1 /proc/uptime')) < 240)
    await powersOff(t, vm)
  }
  copyFileSync(`${image}.saved`, image)
  await using vm = new TsvmmProcess(['restore', path])
  t.is(await vm.console.check('cat /tmp/when'), 'saved')
  t.regex(await vm.console.check('ping -c 1 -W 10 192.168.249.1'), / 0% packet loss/)
  await vm.console.check('sync')
})

test.serial('a cloud image boots with a kernel of our own and without initramfs', async t => {
  using workspace = new Workspace()
  await using network = await TapNetwork.create('tsvmm0', 249)
  await using home = await PhoneHome.listen(network.hostAddress)
  await using vm = new TsvmmProcess([
    ...customKernel.flags('console=ttyS0 root=/dev/vda1 ro quiet'),
    ...machine(workspace.copy(ubuntuLikeDisk()), network.tap),
  ])
  await isSeeded(t, vm, home)
  await powersOff(t, vm)
})
