import { describeDebugCode } from '../util/debug-code.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import type { Log } from '../util/log.ts'
import { Vm, type VmExit } from '../vmm/vm.ts'
import { configOf, flagsOf, type MachineFlags } from './config.ts'
import { openLog } from './log-file.ts'

export interface RunFlags extends MachineFlags {
  /** The hypervisor's device. */
  readonly kvm?: string
  readonly logFile?: string
}

/**
 * Runs one machine until it ends and returns the exit code: 0 after a power-off, or where a signal ended it; 1 after a
 * crash. `verbosity` counts the -v.
 */
export async function runMachine(flags: RunFlags, verbosity: number): Promise<number> {
  const stop = new AbortController()
  const onSignal = () => stop.abort()
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal)
  const config = configOf(flags)
  using opened = openLog(flags.logFile, verbosity)
  const { log } = opened
  log.debug(`flags: ${JSON.stringify(flagsOf(config))}`)
  try {
    const options = flags.kvm === undefined ? {} : { kvmPath: flags.kvm }
    await using vm = await Vm.create(config, { signal: stop.signal, ...options })
    follow(vm, log)
    log.info('the machine is built')
    await vm.boot()
    const exit = await vm.wait()
    log.debug(`exits: ${JSON.stringify(vm.exitCounters())}`)
    return codeOf(exit)
  } catch (error) {
    // A signal that comes while the machine is built or boots is no failure.
    if (stop.signal.aborted) {
      log.info(`stopped by a signal: ${reasonOf(error)}`)
      return 0
    }
    throw error
  }
}

function follow(vm: Vm, log: Log): void {
  vm.on('booted', () => log.info('the machine runs'))
  vm.on('rebooted', () => log.info('the machine was rebooted'))
  vm.on('exit', exit => log.info(`the machine has ended: ${exit.kind}`))
  vm.on('debug-code', (code, elapsedSeconds) => log.warn(describeDebugCode(code, elapsedSeconds)))
}

function codeOf(exit: VmExit): number {
  if (exit.kind !== 'crash') return 0
  if (exit.report !== '') console.error(exit.report)
  if (exit.error instanceof TsvmmError) throw exit.error
  return 1
}
