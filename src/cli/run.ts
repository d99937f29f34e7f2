import { TsvmmError } from '../util/errors.ts'
import { Vm } from '../vmm/vm.ts'
import { configOf, type MachineFlags } from './config.ts'

/** Runs one machine until it ends and returns the exit code: 0 after a power-off, or where a signal ended it. */
export async function runMachine(flags: MachineFlags & { readonly kvm?: string }): Promise<number> {
  const stop = new AbortController()
  const onSignal = () => stop.abort()
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal)
  const config = configOf(flags)
  await using vm = await Vm.create(config, {
    signal: stop.signal,
    ...(flags.kvm === undefined ? {} : { kvmPath: flags.kvm }),
  })
  await vm.boot()
  const exit = await vm.wait()
  if (exit.kind !== 'crash') return 0
  if (exit.report !== '') console.error(exit.report)
  if (exit.error instanceof TsvmmError) throw exit.error
  return 1
}
