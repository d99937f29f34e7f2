import { reasonOf, TsvmmError } from '../util/errors.ts'
import type { Log } from '../util/log.ts'
import type { CloneOptions } from '../vmm/fork.ts'
import { Vm } from '../vmm/vm.ts'
import { Vmm, type VmmEnd } from '../vmm/vmm.ts'
import { cloneKeys } from './keys.ts'
import { openLog } from './log-file.ts'
import { invalid, parseOption, withFirstKey } from './options.ts'
import { register } from './registration.ts'
import { restoreOf } from './restore.ts'
import { follow, monitorEvents, type RunFlags, serve } from './run.ts'

/** What --clone and the flags beside it ask for; flags with a place for each clone must say which is whose. */
export function clonesOf(flags: RunFlags): { path: string; count: number; options: CloneOptions } {
  const { clone = '', restore = '', resumes = false, shutdown } = flags
  if (shutdown === false) throw invalid('--no-shutdown', 'does not go with --clone')
  for (const [flag, text] of Object.entries({
    '--api-socket': flags.apiSocket,
    '--event-monitor': flags.eventMonitor,
  })) {
    if (text !== undefined && !text.includes('{n}'))
      throw invalid(flag, 'needs {n}, the number of the clone, in its path')
  }
  const { count, disks, diskDirectory } = parseOption('--clone', withFirstKey(clone, cloneKeys), cloneKeys)
  const { path, options } = restoreOf({ ...flags, restore }, resumes)
  if (flags.apiSocket === undefined && options.resume !== true)
    throw invalid('--restore', 'resume: off needs --api-socket')
  if (diskDirectory !== undefined && disks === undefined) throw invalid('--clone', 'disk_directory: needs disks=copy')
  return {
    path,
    count: Number(count),
    options: {
      ...options,
      ...(disks === undefined ? {} : { disks: 'copy' }),
      ...(diskDirectory === undefined ? {} : { diskDirectory: String(diskDirectory) }),
    },
  }
}

/**
 * Runs clones of a snapshot until the last has ended; the exit code is that of the worst: 0 after power-offs, or where
 * clients or a signal ended them; 1 after a crash.
 */
export async function runClones(flags: RunFlags, verbosity: number): Promise<number> {
  const { path, count, options } = clonesOf(flags)
  const { resume: isResumed = false, ...paused } = options
  const stop = new AbortController()
  const vmms: Vmm[] = []
  const onSignal = () => {
    stop.abort()
    // What fails in that is thrown where the VMMs are disposed of.
    for (const vmm of vmms) vmm.close().catch(() => {})
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal)
  using opened = openLog(flags.logFile, verbosity)
  const { log } = opened
  await using resources = new AsyncDisposableStack()
  const kvm = flags.kvm === undefined ? {} : { kvmPath: flags.kvm }
  try {
    const clones = await Vm.clone(path, count, { ...paused, ...kvm, signal: stop.signal })
    for (const clone of clones) resources.use(clone)
    for (const [number, clone] of clones.entries()) {
      const vmm = resources.use(new Vmm({ restoreVm: async () => clone }))
      vmms.push(vmm)
      await attend(vmm, { flags, log: log.of(`clone ${number}`), resources, number })
      await vmm.restore(path)
    }
    // When all are there: none has run in vain.
    if (isResumed) for (const vmm of vmms) await vmm.resume()
    log.info(`${count} clones run`)
  } catch (error) {
    if (!stop.signal.aborted) throw error
    log.info(`ended before they ran: ${reasonOf(error)}`)
  }
  // Those that were there when the signal came are closed already, those that came later are not.
  if (stop.signal.aborted) await Promise.all(vmms.map(vmm => vmm.close()))
  return worstOf(await Promise.all(vmms.map(vmm => vmm.wait())))
}

interface Attended {
  readonly flags: RunFlags
  readonly log: Log
  readonly resources: AsyncDisposableStack
  readonly number: number
}

/** What the flags want to know of a clone, and who may drive it. */
async function attend(vmm: Vmm, { flags, log, resources, number }: Attended): Promise<void> {
  const own = (text: string | undefined) => text?.replaceAll('{n}', String(number))
  follow(vmm, log)
  const monitor = await monitorEvents(vmm, own(flags.eventMonitor))
  if (monitor !== undefined) resources.use(monitor)
  const server = await serve(vmm, { ...flags, apiSocket: own(flags.apiSocket) }, log)
  if (server !== undefined) resources.use(server)
  const entry = register(vmm, { apiSocket: own(flags.apiSocket), clone: number }, log)
  if (entry !== undefined) resources.use(entry)
}

function worstOf(ends: readonly VmmEnd[]): number {
  const crashes = ends.flatMap((end, number) => (end.kind === 'crash' ? [{ ...end, number }] : []))
  for (const { report, number } of crashes) if (report !== '') console.error(`clone ${number}:\n${report}`)
  const [first] = crashes
  if (first === undefined) return 0
  const others = crashes.length === 1 ? '' : `, and ${crashes.length - 1} more`
  throw new TsvmmError(
    'ERR_CLONES',
    { reason: `${first.number}: ${reasonOf(first.error)}${others}` },
    { cause: first.error },
  )
}
