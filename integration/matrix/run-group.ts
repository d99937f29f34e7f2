import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { type CellResult, cellsOf, type Group, type Verb } from '../../scripts/matrix/plan.ts'
import { ApiClient } from '../harness/api-client.ts'
import type { GuestProcess } from '../harness/guest-process.ts'
import { PhoneHome } from '../harness/phone-home.ts'
import { TapNetwork } from '../harness/tap-network.ts'
import { Workspace } from '../harness/workspace.ts'
import { CloudGuest, seeded } from './cloud-guest.ts'
import { CloudMachine } from './cloud-machine.ts'
import { afterBoot, type CleanBoot } from './verbs.ts'

export interface GroupEvents {
  /** A cell has been run; the log is of the serial ports of its machines. */
  onResult(result: CellResult, log: string): void
}

/** Runs the cells of a group, one after the other: each begins with the snapshot of one boot. */
export async function runGroup(group: Group, { onResult }: GroupEvents): Promise<void> {
  using workspace = new Workspace()
  await using network = await TapNetwork.create('tsvmm0', seeded.subnet)
  await using booted = new BootedMachine(group, workspace, network)
  for (const cell of cellsOf(group)) {
    const begun = performance.now()
    const error = await failureOf(() => booted.run(cell.verb))
    const result = { ...cell, seconds: secondsSince(begun), ...booted.takeStart() }
    onResult(error === undefined ? result : { ...result, error }, booted.takeLog())
  }
}

function secondsSince(begun: number): number {
  return (performance.now() - begun) / 1000
}

async function failureOf(action: () => Promise<void>): Promise<string | undefined> {
  try {
    await action()
    return undefined
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error)
  }
}

/** The machine that was booted, as long as nothing has been made of it, then its snapshot. */
class BootedMachine implements CleanBoot, AsyncDisposable {
  readonly machine: CloudMachine
  readonly distro: string
  readonly tap: string
  readonly workspace: Workspace
  readonly #network: TapNetwork
  readonly #group: Group
  readonly #transcripts: (() => string)[] = []
  #process: GuestProcess | undefined
  #hasBooted = false
  #snapshot: Promise<string> | undefined
  #startSeconds: number | undefined

  constructor(group: Group, workspace: Workspace, network: TapNetwork) {
    this.machine = new CloudMachine(group, workspace, network.tap)
    this.distro = group.image.distro
    this.tap = network.tap
    this.workspace = workspace
    this.#network = network
    this.#group = group
  }

  run(verb: Verb): Promise<void> {
    return verb === 'boot' ? this.#boot() : afterBoot[verb](this)
  }

  async #boot(): Promise<void> {
    await using home = await PhoneHome.listen(this.#network.hostAddress)
    const process = this.watch(this.machine.start())
    this.#process = process
    const guest = new CloudGuest(process.console, this.distro)
    await guest.isSeeded(home)
    const isFirmware = !['custom', 'distribution'].includes(this.#group.way)
    const efi = await guest.console.run('ls -d /sys/firmware/efi 2>/dev/null')
    assert.equal(efi.exitCode === 0, isFirmware, efi.output)
    assert.equal(await guest.console.check('nproc'), String(this.#group.vcpus))
    await guest.console.check('echo booted > ~/marker; sync')
    this.#hasBooted = true
  }

  snapshot(): Promise<string> {
    this.#snapshot ??= this.#save()
    return this.#snapshot
  }

  async #save(): Promise<string> {
    if (!this.#hasBooted || this.#process === undefined) throw new Error('the image did not boot')
    const path = this.workspace.path('clean')
    const api = new ApiClient(this.machine.socket)
    await api.change('/vm.snapshot', { destination_url: path, disks: 'Copy' })
    await api.put('/vmm.shutdown')
    await this.#process.exit()
    this.#process = undefined
    return path
  }

  async starts(answer: Promise<unknown>): Promise<void> {
    const begun = performance.now()
    await answer
    this.#startSeconds = secondsSince(begun)
  }

  watch<T extends { readonly console: { readonly transcript: string } }>(process: T): T {
    this.#transcripts.push(() => process.console.transcript)
    return process
  }

  keepFile(path: string): void {
    this.#transcripts.push(() => (existsSync(path) ? readFileSync(path, 'latin1') : ''))
  }

  /** Of the last verb, as takeLog(). */
  takeStart(): Pick<CellResult, 'startSeconds'> {
    const startSeconds = this.#startSeconds
    this.#startSeconds = undefined
    return startSeconds === undefined ? {} : { startSeconds }
  }

  /** Of the last verb. */
  takeLog(): string {
    const texts = this.#transcripts.splice(0).map(transcript => transcript())
    return texts.join('\n--- the next machine\n')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process?.[Symbol.asyncDispose]()
  }
}
