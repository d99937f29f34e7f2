import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fixtureNamed, fixtures } from '../fixtures/catalog.ts'
import { FixtureStore, repository } from '../fixtures/store.ts'
import { copyOut, fixturesImage, modulesImage, runImage } from './images.ts'
import type { LabMachine } from './machine.ts'
import { type KernelChoice, type LabOptions, parseOptions, UsageError, usage } from './options.ts'
import { type Outcome, runSession } from './session.ts'

const exitCodes = { usage: 2, timeout: 124, failed: 125 } as const
const startSeconds = 120

async function main(args: readonly string[]): Promise<number> {
  if (args[0] === '--help' || args[0] === '-h') {
    console.log(usage)
    return 0
  }
  const options = parseOptions(args)
  using interrupt = new Interrupt()
  using directory = new TemporaryDirectory()
  const stopwatch = new Stopwatch(options.verbose)
  const machine = await prepare(options, directory.path)
  stopwatch.lap('images')
  const outcome = await runSession(
    machine,
    { startSeconds, commandSeconds: options.timeoutSeconds, interrupt: interrupt.signal },
    {
      stdout: process.stdout,
      stderr: process.stderr,
      stdin: process.stdin,
      ready: uptime => stopwatch.lap(`start (${uptime} s by the lab's clock)`),
    },
  )
  stopwatch.lap('command and end')
  if (options.verbose && existsSync(machine.consoleLog)) process.stderr.write(readFileSync(machine.consoleLog))
  // After a timeout too: what a hanging test has written by then is what one wants to see.
  if (options.out !== undefined && outcome.kind !== 'interrupted')
    copyOut(machine.runImage, directory.path, options.out)
  stopwatch.lap('copy out')
  return report(outcome, options)
}

async function prepare(options: LabOptions, directory: string): Promise<LabMachine> {
  const store = new FixtureStore()
  for (const fixture of fixtures.filter(each => !each.onDemand)) await store.make(fixture)
  const kernel = await kernelFiles(store, options.kernel)
  const [run, modules, guests] = await Promise.all([
    runImage(directory, { checkout: repository, command: options.command }),
    modulesImage(store.directory, repository),
    fixturesImage(store.directory, await store.guestFolder()),
  ])
  return {
    emulator: join(store.path(fixtureNamed('lab-emulator')), 'qemu-system-x86_64'),
    memoryMib: options.memoryMib,
    cpus: options.cpus,
    processor: options.processor,
    // Without our kernel's way round the emulator's trap (docs/guides/lab.md) guests hang the more the processors take turns.
    parallel: options.parallel || kernel.initrd !== undefined,
    ...kernel,
    rootImage: join(store.path(fixtureNamed('lab-root')), 'root.img'),
    runImage: run,
    modulesImage: modules,
    fixturesImage: guests,
    disks: options.disks,
    consoleLog: join(directory, 'console.log'),
    ports: {
      control: join(directory, 'control'),
      stdout: join(directory, 'stdout'),
      stderr: join(directory, 'stderr'),
      ...(options.interactive ? { stdin: join(directory, 'stdin') } : {}),
    },
  }
}

async function kernelFiles(
  store: FixtureStore,
  choice: KernelChoice | undefined,
): Promise<{ kernel: string; initrd?: string }> {
  const custom = fixtureNamed('custom-kernel')
  if (choice === 'custom' || (choice === undefined && store.has(custom))) {
    return { kernel: join(await store.make(custom), 'vmlinux') }
  }
  if (choice === undefined) {
    console.error("lab: the custom kernel is not cached (scripts/fixtures custom-kernel); using Debian's")
  }
  const debian = store.path(fixtureNamed('debian-kernel'))
  return { kernel: join(debian, 'vmlinuz'), initrd: join(debian, 'initrd') }
}

function report(outcome: Outcome, options: LabOptions): number {
  switch (outcome.kind) {
    case 'exited':
      return outcome.code
    case 'timeout':
      console.error(`lab: the command had not ended after ${options.timeoutSeconds} s; the lab was killed`)
      return exitCodes.timeout
    case 'failed':
      console.error(`lab: ${outcome.reason}`)
      return exitCodes.failed
    case 'interrupted':
      return 128 + constants.signals[outcome.signal]
  }
}

class TemporaryDirectory implements Disposable {
  readonly path: string

  constructor() {
    this.path = mkdtempSync(join(tmpdir(), 'tsvmm-lab-'))
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}

/** Turns the signals that mean "end" into one abort, so that everything is cleaned up on the way out. */
class Interrupt implements Disposable {
  readonly #controller = new AbortController()
  readonly #signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  readonly #abort = (signal: NodeJS.Signals) => this.#controller.abort(signal)

  constructor() {
    for (const signal of this.#signals) process.on(signal, this.#abort)
    // The reader of our output has gone, as in `lab ... | head`.
    process.stdout.on('error', () => this.#abort('SIGPIPE'))
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  [Symbol.dispose](): void {
    for (const signal of this.#signals) process.off(signal, this.#abort)
  }
}

class Stopwatch {
  #last = performance.now()
  readonly #speaks: boolean

  constructor(speaks: boolean) {
    this.#speaks = speaks
  }

  lap(step: string): void {
    const now = performance.now()
    if (this.#speaks) console.error(`lab: ${step}: ${((now - this.#last) / 1000).toFixed(2)} s`)
    this.#last = now
  }
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  console.error(`lab: ${error instanceof Error ? error.message : error}`)
  if (error instanceof UsageError) console.error(usage)
  process.exitCode = error instanceof UsageError ? exitCodes.usage : exitCodes.failed
}
