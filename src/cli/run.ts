import { flushCompileCache } from 'node:module'
import { flagOf } from '../config/unsupported.ts'
import { describeDebugCode } from '../util/debug-code.ts'
import { reasonOf } from '../util/errors.ts'
import type { Log } from '../util/log.ts'
import type { SnapshotReport } from '../vmm/vm-events.ts'
import { Vmm, type VmmEnd } from '../vmm/vmm.ts'
import { configOf, flagsOf, type MachineFlags } from './config.ts'
import { flagsAmong, machineFlags } from './flags.ts'
import { eventMonitorKeys } from './keys.ts'
import { openLog } from './log-file.ts'
import { invalid, parseOption } from './options.ts'
import { register } from './registration.ts'
import { apiVersion, ownVersion } from './version.ts'

/** Where the API is served, and how. */
export interface ServeFlags {
  readonly apiSocket?: string | undefined
  readonly strict?: boolean
}

export interface RunFlags extends MachineFlags, ServeFlags {
  /** The hypervisor's device. */
  readonly kvm?: string
  readonly logFile?: string
  readonly eventMonitor?: string
  readonly restore?: string
  /** The keys of --receive-migration, or of the command. */
  readonly receiveMigration?: string
  /** The keys of --clone. */
  readonly clone?: string
  /** A restored machine runs at once, unless the keys say something else. */
  readonly resumes?: boolean
  /** False for --no-shutdown. */
  readonly shutdown?: boolean
}

/** After the machine's start, which has the processor to itself until then. */
const compiledCodeDelayMs = 1_000

/**
 * Runs one machine until it ends, or serves the API until that ends it, and returns the exit code: 0 after a power-off, or
 * where a client or a signal ended it; 1 after a crash. `verbosity` counts the -v.
 */
export async function runMachine(flags: RunFlags, verbosity: number): Promise<number> {
  const loadedMs = performance.now()
  if (flags.clone !== undefined) throw invalid('--clone', 'needs restore: clones are made of a snapshot')
  const isAlone = flags.apiSocket === undefined
  const outlivesVm = flags.shutdown === false
  if (flags.strict === true && isAlone) throw invalid('--strict', 'needs --api-socket: nobody else asks for anything')
  if (outlivesVm && isAlone) throw invalid('--no-shutdown', 'needs --api-socket: nobody could end the program')
  const vmm = new Vmm({ outlivesVm, ...(flags.kvm === undefined ? {} : { kvmPath: flags.kvm }) })
  const onSignal = () => {
    // What fails in that is thrown where the VMM is disposed of.
    vmm.close().catch(() => {})
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal)
  const start = await startOf(flags, isAlone)
  using opened = openLog(flags.logFile, verbosity)
  const { log } = opened
  log.info(timesOf(loadedMs))
  follow(vmm, log)
  using _monitor = await monitorEvents(vmm, flags.eventMonitor)
  await using _server = await serve(vmm, flags, log)
  using _entry = register(vmm, { apiSocket: flags.apiSocket }, log)
  await using _vmm = vmm
  try {
    await start(vmm, log)
  } catch (error) {
    if (!vmm.isClosing) throw error
    // A signal or a client that ends it while the machine is built or boots is no failure.
    log.info(`ended before it ran: ${reasonOf(error)}`)
  }
  return codeOf(await vmm.wait())
}

/** Told what happens from here on. */
export async function monitorEvents(vmm: Vmm, option: string | undefined): Promise<Disposable | undefined> {
  if (option === undefined) return undefined
  const { path, fd } = parseOption('--event-monitor', option, eventMonitorKeys)
  if ((path === undefined) === (fd === undefined)) throw invalid('--event-monitor', 'takes path or fd')
  const { EventMonitor } = await import('../vmm/event-monitor.ts')
  const target = path === undefined ? { fd: Number(fd) } : { path: String(path) }
  const monitor = EventMonitor.open(target, () => performance.now())
  monitor.tell('vmm', 'starting')
  vmm.on('event', ({ source, event, properties }) => monitor.tell(source, event, properties))
  return monitor
}

/** The server's modules are loaded only where there is something to serve. */
export async function serve(vmm: Vmm, flags: ServeFlags, log: Log): Promise<AsyncDisposable | undefined> {
  const { apiSocket: option, strict: isStrict = false } = flags
  if (option === undefined) return undefined
  const { ApiServer, parseSocketAddress } = await import('../api/server.ts')
  const address = parseSocketAddress(option)
  const server = await ApiServer.start({ vmm, address, log, isStrict, buildVersion: ownVersion, apiVersion })
  log.info(`serving the API on ${option}`)
  return server
}

export function follow(vmm: Vmm, log: Log): void {
  vmm.on('event', ({ source, event, properties }) => {
    if (properties === undefined) log.info(`event: ${source} ${event}`)
    else log.debug(`event: ${source} ${event} ${JSON.stringify(properties)}`)
  })
  vmm.on('built', vm => {
    log.info('the machine is built')
    // Nobody else knows: each is another one every time.
    for (const [owner, path] of vm.terminals) log.warn(`${flagOf(owner)} is ${path}`)
    vm.on('loaded', () => log.info('the kernel is loaded'))
    vm.on('booted', () => {
      log.info('the machine runs')
      keepCompiledCode()
    })
    // A restored machine, and one that was saved: the next will want the same code.
    vm.on('resumed', keepCompiledCode)
    vm.on('snapshotted', keepCompiledCode)
    vm.on('rebooted', () => log.info('the machine was rebooted'))
    vm.on('snapshotted', report => log.info(describeSnapshot(report)))
    // Once each: a guest can break its devices as often as it likes.
    const told = new Set<string>()
    vm.on('needs-reset', (device, reason) => {
      const line = `device ${device} rests until its driver resets it: ${reason}`
      if (!told.has(line)) log.warn(line)
      told.add(line)
    })
    vm.on('disk-fault', (device, reason) => log.error(`disk ${device}: ${reason}`))
    vm.on('debug-code', (code, elapsedSeconds) => log.warn(describeDebugCode(code, elapsedSeconds)))
    vm.on('exit', exit => {
      log.info(`the machine has ended: ${exit.kind}`)
      log.debug(`exits: ${JSON.stringify(vm.exitCounters())}`)
    })
  })
  vmm.on('vm-exit', exit => {
    if (exit.kind === 'crash') log.error(reasonOf(exit.error))
  })
}

/** What the machine begins with: a kernel, a snapshot, or nothing, where clients are to say. Throws ERR_OPTION_INVALID. */
async function startOf(flags: RunFlags, isAlone: boolean): Promise<(vmm: Vmm, log: Log) => Promise<void>> {
  const { restore, resumes = false, receiveMigration } = flags
  if (receiveMigration !== undefined) {
    if (restore !== undefined) throw invalid('--receive-migration', 'does not go with --restore')
    const { receiveOf } = await import('./receive.ts')
    const { url, options } = receiveOf(receiveMigration, flags)
    return vmm => vmm.receiveMigration(url, options)
  }
  if (restore !== undefined) {
    const { restoreOf } = await import('./restore.ts')
    const { path, options } = restoreOf({ ...flags, restore }, resumes)
    if (isAlone && options.resume !== true) throw invalid('--restore', 'resume: off needs --api-socket')
    return vmm => vmm.restore(path, options)
  }
  if (!isAlone && flagsAmong(machineFlags, { ...flags }).length === 0) return async () => {}
  const config = configOf(flags)
  return async (vmm, log) => {
    log.debug(`flags: ${JSON.stringify(flagsOf(config))}`)
    await vmm.create(config)
    await vmm.boot()
  }
}

/** When the times of the log begin; how long after that Node was up, and when what a machine needs was loaded. */
function timesOf(loadedMs: number): string {
  const begun = new Date(performance.timeOrigin).toISOString()
  const upMs = performance.nodeTiming.bootstrapComplete
  return `started at ${begun}, runtime ${upMs.toFixed(1)} ms, modules ${loadedMs.toFixed(1)} ms`
}

function describeSnapshot({ pausedMs, live }: SnapshotReport): string {
  const pause = pausedMs === undefined ? '' : `, in a pause of ${pausedMs.toFixed(1)} ms`
  if (live === undefined) return `the machine was saved${pause}`
  const { rounds, rest, reason } = live
  const why = reason === undefined ? '' : `, which could not be write-protected: ${reason}`
  const last = rest === 'frozen' ? 'what was left was write-protected' : `what was left was saved in the pause${why}`
  return `the machine was saved as it ran${pause}, in ${rounds} ${rounds === 1 ? 'round' : 'rounds'}; ${last}`
}

/** Node keeps it only where it ends by itself; a machine that is killed one day would leave nothing to the next start. */
function keepCompiledCode(): void {
  setTimeout(flushCompileCache, compiledCodeDelayMs).unref()
}

function codeOf(end: VmmEnd): number {
  if (end.kind !== 'crash') return 0
  if (end.report !== '') console.error(end.report)
  throw end.error
}
