import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import test, { type ExecutionContext } from 'ava'
import { execa } from 'execa'
import { sealManifest } from '../src/snapshot/manifest.ts'
import { ApiClient } from './harness/api-client.ts'
import { debianKernel } from './harness/artifacts.ts'
import type { GuestConsole } from './harness/guest-console.ts'
import { runTsvmm, TsvmmProcess } from './harness/tsvmm-process.ts'
import { Workspace } from './harness/workspace.ts'

const rdseed = 18
const shaNi = 29
const template = {
  cpuid_modifiers: [
    {
      ...{ leaf: '0x7', subleaf: '0x0', flags: 1 },
      modifiers: [{ register: 'ebx', bitmap: `0b0x_${'x'.repeat(shaNi - rdseed - 2)}_0${'x'.repeat(rdseed)}` }],
    },
  ],
  // RDCL_NO
  msr_modifiers: [{ addr: '0x10a', bitmap: '0b0' }],
}

/** The features that the kernel of the guest found, or found when it began. */
async function flagsOf(guest: GuestConsole): Promise<readonly string[]> {
  guest.type('grep -m1 ^flags /proc/cpuinfo\n')
  const [, flags = ''] = await guest.waitFor(/flags\s*: ([^\n]*)\n/)
  await guest.waitFor(/tsvmm# $/)
  return flags.split(' ')
}

async function hasNeither(t: ExecutionContext, guest: GuestConsole, when: string): Promise<void> {
  const flags = await flagsOf(guest)
  t.false(flags.includes('rdseed'), when)
  t.false(flags.includes('sha_ni'), when)
  t.true(flags.includes('adx'), when)
}

test.serial(
  'a guest sees what its template leaves, also restored and rebooted; elsewhere it is refused by name',
  async t => {
    using workspace = new Workspace()
    const socket = workspace.path('api.sock')
    const api = new ApiClient(socket)
    const path = workspace.path('one')
    const file = workspace.path('template.json')
    writeFileSync(file, JSON.stringify(template))
    const machine = [
      ...debianKernel.flags('console=ttyS0 quiet tsvmm.run=commands'),
      ...['--memory', 'size=256M', '--serial', 'tty', '--console', 'off', '--cpus'],
    ]
    {
      await using plain = new TsvmmProcess([...machine, 'boot=1'])
      await plain.console.waitFor(/tsvmm# $/)
      plain.console.type('grep -m1 "^model name" /proc/cpuinfo\n')
      t.is((await plain.console.waitFor(/model name\s*: ([^\n]*)\n/))[1], cpus()[0]?.model)
      const flags = await flagsOf(plain.console)
      t.true(flags.includes('rdseed') && flags.includes('sha_ni'), flags.join(' '))
    }
    {
      await using vm = new TsvmmProcess(['--api-socket', socket, ...machine, `boot=2,template=${file}`])
      await vm.console.waitFor(/tsvmm# $/)
      await hasNeither(t, vm.console, 'as it was made')
      await api.change('/vm.snapshot', { destination_url: `file://${path}` })
      t.is((await api.put('/vmm.shutdown')).status, 200)
      await vm.exit()
    }
    rmSync(file)
    {
      await using vm = new TsvmmProcess(['--api-socket', socket, '--restore', `${path},resume=on`])
      vm.console.type('\n')
      await vm.console.waitFor(/tsvmm# $/)
      await hasNeither(t, vm.console, 'restored')
      await api.change('/vm.reboot')
      await vm.console.waitFor(/tsvmm# $/)
      await hasNeither(t, vm.console, 'rebooted')
      t.is((await api.put('/vmm.shutdown')).status, 200)
      await vm.exit()
    }
    const { stdout } = await execa('dist/tsvmm', ['snapshot', 'inspect', path])
    t.regex(stdout, /^CPU +.*AuthenticAMD family \d+ model \d+ stepping \d+\)?, \d+ address bits, TSC [\d.]+ GHz$/m)
    t.regex(stdout, /^features +fpu .* adx /m)
    t.notRegex(stdout, /rdseed|rdcl_no/)

    const manifest = readFileSync(`${path}/manifest.json`, 'utf8')
    const refused = async (change: (cpu: Record<string, unknown>) => void, reason: RegExp) => {
      const value = JSON.parse(manifest)
      change(value.cpu)
      writeFileSync(`${path}/manifest.json`, sealManifest(value))
      const { exitCode, stderr } = await runTsvmm(['restore', path, '--serial', 'null'])
      t.is(exitCode, 1, stderr)
      t.regex(stderr, reason)
      t.is(stderr.trim().split('\n').length, 1, stderr)
    }
    const lacks = 'tsvmm: error: this host cannot give the guest its CPU:'
    await refused(
      cpu => {
        Object.assign(cpu, { physicalAddressBits: 52, tscKilohertz: 9_000_000 })
        Object.assign(Object(cpu['cpuid']), { '0x7.0.ebx': '0x10020', '0x7.0.ecx': '0x8' })
      },
      new RegExp(
        `^${lacks} avx2, avx512f, pku; physical address bits 52, this host has 40; TSC 9 GHz, this host has [\\d.]+ GHz and no other\n?$`,
      ),
    )
    await refused(
      cpu => Object.assign(cpu, { vendor: 'GenuineIntel' }),
      /it is of GenuineIntel, this host's of AuthenticAMD/,
    )
    await refused(cpu => Object.assign(cpu, { msrs: { '0x10a': '0xffff' } }), /taa_no/)
    await refused(cpu => Object.assign(cpu, { family: 'x' }), /manifest\.json: cpu\.family: must be of type number/)
  },
)
