import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { openDisk } from '../backends/disk.native.ts'
import { type Fault, FaultyLink } from '../migration/testing/faulty-link.ts'
import { below, randomOf } from '../util/testing/random.ts'
import { diskOf } from './testing/counting-vm.native.ts'
import type { SideRequest } from './testing/migrating-side.native.ts'
import { MigratingSide } from './testing/migrating-side.ts'

const points = 10
/** How many pieces there are differs from run to run: what is too late for a run strikes nothing. */
const mostRuns = 5 * points
/** Short: each stall waits for it. */
const peerTimeoutMs = 1_000
const resolveMs = 10_000
/** Between two steps of the guest's count. */
const codeStep = 16
/** Of what is said before a destination knows that somebody has a machine for it. */
const greetingPieces = 4

type Postcopy = 'never' | 'at-once'
type FaultKind = 'cut' | 'stall' | 'corrupt' | 'kill the source' | 'kill the destination' | 'starve the destination'

const kinds: readonly FaultKind[] = [
  ...(['cut', 'stall', 'corrupt', 'kill the source', 'kill the destination', 'starve the destination'] as const),
]

for (const [mode, postcopy] of (['never', 'at-once'] as const).entries()) {
  for (const [index, kind] of kinds.entries()) {
    const seed = 100 * mode + index
    test.serial(`at ${points} points of a migration (postcopy ${postcopy}): ${kind}`, async t => {
      t.timeout(15 * 60_000)
      const random = randomOf(seed)
      await using travels = await Travels.begin(t, postcopy)
      // The second one of two processes says what it says in as many pieces as all that follow.
      await travels.go(undefined)
      let { pieces } = await travels.go(undefined)
      let struck = 0
      for (let run = 0; struck < points && run < mostRuns; run += 1) {
        const [piece, share] = [below(random, pieces), random()]
        t.log(`run ${run} of seed ${seed}: ${kind} at piece ${piece} of ${pieces}, ${share.toFixed(3)}`)
        const went = await travels.go({ kind, piece, share })
        if (went.hasStruck) struck += 1
        else pieces = went.pieces
      }
      await travels.end()
      t.is(struck, points)
    })
  }
}

interface Disturbance {
  readonly kind: FaultKind
  readonly piece: number
  readonly share: number
}

/** A machine that goes to and fro between two processes, over connections that break. */
class Travels implements AsyncDisposable {
  readonly #t: ExecutionContext
  readonly #postcopy: Postcopy
  readonly #place = mkdtempSync(join(tmpdir(), 'tsvmm-faults-'))
  /** Has the machine. */
  #here = new MigratingSide()
  #there = new MigratingSide()

  private constructor(t: ExecutionContext, postcopy: Postcopy) {
    this.#t = t
    this.#postcopy = postcopy
  }

  static async begin(t: ExecutionContext, postcopy: Postcopy): Promise<Travels> {
    const travels = new Travels(t, postcopy)
    await travels.#boot()
    return travels
  }

  async #boot(): Promise<void> {
    const booted = this.#here.next('booted')
    this.#here.ask({ kind: 'boot', place: this.#place })
    this.#t.is((await booted).kind, 'booted', this.#here.stderr)
  }

  /** Moves it. Of how many pieces did what was said consist? */
  async go(disturbance: Disturbance | undefined): Promise<{ readonly hasStruck: boolean; readonly pieces: number }> {
    const [source, destination] = [this.#here, this.#there]
    const [near, far] = [join(this.#place, 'near'), join(this.#place, 'far')]
    await using link = await FaultyLink.open(near, far, disturbance && faultOf(disturbance), () => {
      if (disturbance?.kind === 'kill the source') source.kill()
      if (disturbance?.kind === 'kill the destination') destination.kill()
      if (disturbance?.kind === 'starve the destination') starve(destination.pid, 2 ** 20)
    })
    const listening = destination.next('listening', 'outcome')
    destination.ask({ kind: 'receive', url: `unix:${far}`, peerTimeoutMs, resolveMs })
    this.#t.is((await listening).kind, 'listening', destination.stderr)
    const [left, arrived] = [endOf(source), endOf(destination)]
    const complete = destination.next('complete')
    const options = { peerTimeoutMs, resolveMs, connections: 2, postcopy: this.#postcopy }
    source.ask({ kind: 'send', url: `unix:${near}`, options })
    decideFor(source, destination)
    decideFor(destination, source)
    const hasStayed = await left
    if (!source.isAlive) await this.#patience(arrived, disturbance)
    if (hasStayed.hasMachine || !source.isAlive) destination.ask({ kind: 'give-up' })
    const hasArrived = { ...(await arrived) }
    if (link.hasStruck && disturbance?.kind === 'kill the destination') {
      await until(() => !destination.isAlive, 'it lives')
    }
    // Dead with the machine that it had.
    if (!destination.isAlive) hasArrived.hasMachine = false
    this.#t.log(`  ${hasStayed.what}; ${hasArrived.what}`)
    this.#t.false(hasStayed.hasMachine && hasArrived.hasMachine)
    if (source.isAlive && destination.isAlive) {
      this.#t.true(hasStayed.hasMachine || hasArrived.hasMachine)
      await until(() => link.isQuiet, 'connections are left')
    }
    // The memory of a machine whose source was killed too early never comes.
    const isWhole = this.#postcopy === 'never' || source.isAlive || !destination.isAlive || (await isSoon(complete))
    if (hasStayed.hasMachine) await this.#goesOn(source, () => source.codes)
    if (hasArrived.hasMachine && disturbance?.kind === 'starve the destination') {
      starve(destination.pid, Infinity)
      destination.ask({ kind: 'resume' })
    }
    if (hasArrived.hasMachine && isWhole) await this.#goesOn(destination, () => [...source.codes, ...destination.codes])
    if (hasArrived.hasMachine && !isWhole) await this.#closeAt(destination)
    await this.#settle(hasArrived.hasMachine)
    if (!hasStayed.hasMachine && !(hasArrived.hasMachine && isWhole)) await this.#boot()
    return { hasStruck: link.hasStruck, pieces: link.pieces }
  }

  /** It counts, without a step that is missing or made twice. */
  async #goesOn(owner: MigratingSide, count: () => readonly number[]): Promise<void> {
    const { length } = owner.codes
    await until(
      () => owner.codes.length >= length + 2,
      () => `it does not go on: ${owner.stderr}`,
    )
    // What a process said last may not be heard when it is killed.
    if (this.#here.isAlive && this.#there.isAlive) this.#t.deepEqual(gaps(count()), [])
    this.#t.throws(() => openDisk(this.#disk), { code: 'ERR_DISK_LOCKED' })
  }

  /** Nothing is left where the machine is not, and whoever was killed is replaced. */
  async #settle(hasMoved: boolean): Promise<void> {
    const [owner, other] = hasMoved ? [this.#there, this.#here] : [this.#here, this.#there]
    if (other.isAlive)
      await until(
        () => other.leftovers().length === 0,
        () => `is left: ${other.leftovers().join(' ')}`,
      )
    if (this.#there.isAlive) await until(() => !existsSync(join(this.#place, 'far')), 'a socket is left')
    this.#here = owner.isAlive ? owner : new MigratingSide()
    this.#there = other.isAlive ? other : new MigratingSide()
    for (const side of [this.#here, this.#there]) {
      side.reset()
      starve(side.pid, Infinity)
    }
  }

  /** A destination whose source has died notices by itself, unless it has not been greeted yet. */
  async #patience(arrived: Promise<unknown>, disturbance: Disturbance | undefined): Promise<void> {
    const hasEnded = await Promise.race([arrived.then(() => true), delay(10 * peerTimeoutMs, false)])
    this.#t.true(hasEnded || (disturbance?.piece ?? 0) < greetingPieces, 'it waits for a source that is dead')
  }

  get #disk() {
    return { path: diskOf(this.#place), isReadOnly: false, isDirect: false, isSparse: true }
  }

  async #closeAt(side: MigratingSide): Promise<void> {
    const closed = side.next('closed')
    side.ask({ kind: 'close' })
    await closed
    openDisk(this.#disk).close()
  }

  /** Ends it; nothing is left then. */
  async end(): Promise<void> {
    await this.#closeAt(this.#here)
    await until(
      () => this.#here.leftovers().length === 0,
      () => `is left: ${this.#here.leftovers().join(' ')}`,
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#here[Symbol.asyncDispose]()
    await this.#there[Symbol.asyncDispose]()
    rmSync(this.#place, { recursive: true, force: true })
  }
}

function faultOf({ kind, piece, share }: Disturbance): Fault {
  return { kind: kind === 'cut' || kind === 'stall' || kind === 'corrupt' ? kind : 'call', piece, share }
}

interface End {
  hasMachine: boolean
  readonly what: string
}

/** How a migration ends for a side. */
async function endOf(side: MigratingSide): Promise<End> {
  const report = await side.next('outcome')
  return report.kind === 'outcome'
    ? { hasMachine: report.hasMachine, what: report.reason || 'done' }
    : { hasMachine: false, what: 'killed' }
}

/** Where it is in doubt, or has to wait, and the other side is dead, a person says so. */
function decideFor(side: MigratingSide, other: MigratingSide): void {
  let request: SideRequest | undefined
  const decide = () => {
    if (request !== undefined && !other.isAlive) side.ask(request)
  }
  side.on('report', ({ kind }) => {
    if (kind === 'doubt') request = { kind: 'keep' }
    else if (kind === 'completing') request = { kind: 'close' }
    else if (kind === 'outcome') request = undefined
    if (kind === 'doubt' || kind === 'completing') decide()
  })
  other.once('exit', decide)
}

/** It gets no more memory than it has, and so much. */
function starve(pid: number, sparedBytes: number): void {
  const [pages = ''] = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')
  const limit = Number(pages) * 4096 + sparedBytes
  execFileSync('prlimit', ['--pid', `${pid}`, `--as=${limit === Infinity ? 'unlimited' : limit}:`])
}

/** Steps of a count that are missing or were made twice. */
function gaps(codes: readonly number[]): string[] {
  return codes.flatMap((code, index) => {
    const before = codes[index - 1]
    return before === undefined || ((before + codeStep) & 0xff) === code ? [] : [`${before} ${code}`]
  })
}

function isSoon(report: Promise<{ readonly kind: string }>): Promise<boolean> {
  return Promise.race([report.then(({ kind }) => kind !== 'gone'), delay(2_000, false)])
}

async function until(condition: () => boolean, what: string | (() => string)): Promise<void> {
  for (let waited = 0; !condition(); waited += 1) {
    if (waited > 6_000) throw new Error(typeof what === 'string' ? what : what())
    await delay(10)
  }
}
