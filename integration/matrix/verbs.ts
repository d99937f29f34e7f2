import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { execa } from 'execa'
import type { Verb } from '../../scripts/matrix/plan.ts'
import { ApiClient } from '../harness/api-client.ts'
import { happens } from '../harness/events.ts'
import { overSsh } from '../harness/ssh.ts'
import { TsvmmProcess } from '../harness/tsvmm-process.ts'
import type { Workspace } from '../harness/workspace.ts'
import { CloudGuest, seeded } from './cloud-guest.ts'
import type { CloudMachine } from './cloud-machine.ts'

/** What a verb works with. */
export interface CleanBoot {
  readonly machine: CloudMachine
  readonly distro: string
  readonly tap: string
  readonly workspace: Workspace
  /** The snapshot of a clean boot, with its disk: somebody is logged in at the serial port. */
  snapshot(): Promise<string>
  /** Waits for the first answer of what is made of the snapshot: what that takes is the start of the verb. */
  starts(answer: Promise<unknown>): Promise<void>
  /** Has the transcript kept where the verb fails. */
  watch<T extends { readonly console: { readonly transcript: string } }>(process: T): T
  /** As watch(), of a file. */
  keepFile(path: string): void
}

type AfterBoot = (boot: CleanBoot) => Promise<void>

function answerOf(process: TsvmmProcess): Promise<unknown> {
  return process.console.check('true')
}

/** Restored with its pages on demand, it is itself, writes, and powers off. */
const restore: AfterBoot = async boot => {
  const path = await boot.snapshot()
  await using process = boot.watch(boot.machine.restore(path, ',memory_restore_mode=ondemand'))
  await boot.starts(answerOf(process))
  const guest = new CloudGuest(process.console, boot.distro)
  await guest.isItself()
  assert.equal(await guest.console.check('cat ~/marker'), 'booted')
  await guest.console.check('echo restored > ~/marker; sync')
  guest.console.type('sudo poweroff\n')
  const { exitCode, stderr } = await process.exit()
  assert.equal(exitCode, 0, stderr)
}

/** Reboots from inside, by whatever way the machine boots, and is itself again. */
const reboot: AfterBoot = async boot => {
  const path = await boot.snapshot()
  await using process = boot.watch(boot.machine.restore(path))
  await boot.starts(answerOf(process))
  const guest = new CloudGuest(process.console, boot.distro)
  await guest.console.check('echo rebooted > ~/marker; sync')
  const before = await guest.console.check('cat /proc/sys/kernel/random/boot_id')
  guest.console.type('sudo reboot\n')
  await guest.boots()
  await guest.logIn()
  await guest.isItself()
  assert.notEqual(await guest.console.check('cat /proc/sys/kernel/random/boot_id'), before)
  assert.equal(await guest.console.check('cat ~/marker'), 'rebooted')
}

/** Moves to another process, with a card of its own there, and is whole; the one that it left has ended. */
const migrate: AfterBoot = async boot => {
  const clean = await boot.snapshot()
  const [url, events] = [`unix:${boot.workspace.path('migration.sock')}`, boot.workspace.path('events')]
  const socket = boot.workspace.path('destination.sock')
  await using taps = await SpareTaps.create(boot.tap, 1)
  await using source = boot.watch(boot.machine.restore(clean))
  await boot.starts(answerOf(source))
  await source.console.check('echo moved > ~/marker')
  await using destination = boot.watch(
    new TsvmmProcess([
      ...['--api-socket', socket, '--event-monitor', `path=${events}`, '--receive-migration', url],
      ...['--net', `id=_net2,tap=${taps.name(0)}`],
    ]),
  )
  await happens(events, 'migration-receive-ready')
  await new ApiClient(boot.machine.socket).change('/vm.send-migration', { destination_url: url })
  await new ApiClient(socket).becomes('Running', 240_000)
  const { exitCode, stderr } = await source.exit()
  assert.equal(exitCode, 0, stderr)
  await using _address = await taps.useOnly(0)
  const guest = new CloudGuest(destination.console, boot.distro)
  assert.equal(await guest.console.check('cat ~/marker'), 'moved')
  await guest.isItself()
}

/** Two snapshots, each of what differs from the one before; the last one is restored. */
const chain: AfterBoot = async boot => {
  const clean = await boot.snapshot()
  const [one, two] = [boot.workspace.path('one'), boot.workspace.path('two')]
  const api = new ApiClient(boot.machine.socket)
  {
    await using process = boot.watch(boot.machine.restore(clean))
    await boot.starts(answerOf(process))
    const { console: serial } = process
    await serial.check('echo one > ~/one')
    await api.change('/vm.snapshot', { destination_url: one, parent_url: clean, disks: 'Copy', live: true })
    await serial.check('echo two > ~/two')
    await api.change('/vm.snapshot', { destination_url: two, parent_url: one, disks: 'Copy' })
    await serial.check('echo later > ~/two')
  }
  await using process = boot.watch(boot.machine.restore(two))
  const guest = new CloudGuest(process.console, boot.distro)
  assert.equal(await guest.console.check('cat ~/one ~/two'), 'one\ntwo')
  await guest.isItself()
}

/** All of them run, and the first is to be reached. */
async function allAnswer(sockets: readonly string[], taps: SpareTaps): Promise<void> {
  for (const socket of sockets) await new ApiClient(socket).becomes('Running', 240_000)
  await using _address = await taps.useOnly(0)
  await overSsh(seeded, 'true')
}

/** Three clones in one process, each with a disk and a card of its own: none sees what the others write. */
const clone: AfterBoot = async boot => {
  const clean = await boot.snapshot()
  const numbers = [0, 1, 2]
  const log = (number: number | string) => boot.workspace.path(`clone-${number}.log`)
  const sockets = numbers.map(number => boot.workspace.path(`clone-${number}.sock`))
  for (const number of numbers) boot.keepFile(log(number))
  await using taps = await SpareTaps.create(boot.tap, numbers.length)
  await using process = new TsvmmProcess([
    ...['restore', clean, '--clone', `${numbers.length},disks=copy,disk_directory=${boot.workspace.path('clones')}`],
    ...['--api-socket', boot.workspace.path('clone-{n}.sock'), '--serial', `file=${log('{n}')}`],
    ...['--net', `id=_net2,tap=${taps.name('{n}')}`],
  ])
  await boot.starts(allAnswer(sockets, taps))
  const ids = new Set<string>()
  for (const number of numbers) {
    await using _address = await taps.useOnly(number)
    const line = `cat ~/marker; hostname; head -c 8 /dev/urandom | od -An -tx8; echo clone ${number} > ~/marker; sync`
    const [marker, hostname, drawn = ''] = (await overSsh(seeded, line)).split('\n')
    assert.deepEqual([marker, hostname], ['booted', `cloud-${boot.distro}`])
    ids.add(drawn)
  }
  assert.equal(ids.size, numbers.length, 'they drew the same random numbers')
  for (const number of numbers) {
    await using _address = await taps.useOnly(number)
    assert.equal(await overSsh(seeded, 'cat ~/marker'), `clone ${number}`)
  }
  for (const socket of sockets) assert.equal((await new ApiClient(socket).put('/vmm.shutdown')).status, 200)
  const { exitCode, stderr } = await process.exit()
  assert.equal(exitCode, 0, stderr)
}

/** A tap for each machine that is made of one. All have the same address inside, so that the host speaks with one at a time. */
class SpareTaps implements AsyncDisposable {
  readonly #original: string
  readonly #count: number

  private constructor(original: string, count: number) {
    this.#original = original
    this.#count = count
  }

  static async create(original: string, count: number): Promise<SpareTaps> {
    const taps = new SpareTaps(original, count)
    const mac = readFileSync(`/sys/class/net/${original}/address`, 'utf8').trim()
    await execa('ip', ['addr', 'flush', 'dev', original])
    for (let number = 0; number < count; number += 1) {
      await execa('ip', ['tuntap', 'add', 'dev', taps.name(number), 'mode', 'tap', 'vnet_hdr'])
      // The one that the guest knows.
      await execa('ip', ['link', 'set', taps.name(number), 'address', mac, 'up'])
    }
    return taps
  }

  name(number: number | string): string {
    return `spare${number}`
  }

  async useOnly(number: number): Promise<AsyncDisposable> {
    const address = ['addr', 'add', `${seeded.hostAddress}/24`, 'dev', this.name(number)]
    await execa('ip', address)
    return {
      [Symbol.asyncDispose]: async () => {
        await execa('ip', ['addr', 'flush', 'dev', this.name(number)])
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (let number = 0; number < this.#count; number += 1) {
      await execa('ip', ['link', 'del', this.name(number)], { reject: false })
    }
    await execa('ip', ['addr', 'add', `${seeded.hostAddress}/24`, 'dev', this.#original])
  }
}

/** What follows a boot. */
export const afterBoot: Readonly<Record<Exclude<Verb, 'boot'>, AfterBoot>> = { restore, reboot, migrate, chain, clone }
