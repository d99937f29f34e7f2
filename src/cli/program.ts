import { Command, CommanderError } from 'commander'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { cpusKeys, diskKeys, memoryKeys, netKeys, platformKeys, rngKeys } from './keys.ts'
import type { OptionKeys } from './options.ts'
import { runMachine } from './run.ts'
import { versionText } from './version.ts'

function helpOf(summary: string, keys: OptionKeys): string {
  const lines = Object.entries(keys).map(([key, { help }]) => `  ${key}=  ${help}`)
  return [summary, ...lines].join('\n')
}

const serialHelp = 'off, null, tty or file=PATH; on a terminal Ctrl-A x ends the machine'

function createProgram(): Command {
  return new Command('tsvmm')
    .description('Runs a virtual machine.')
    .version(versionText(process.argv[1] ?? 'tsvmm'), '-V, --version')
    .option('--kernel <path>', 'kernel: an ELF with a PVH note, or a bzImage')
    .option('--firmware <path>', 'firmware instead of a kernel')
    .option('--initramfs <path>', 'initial RAM file system')
    .option('--cmdline <text>', 'command line of the kernel')
    .option('--cpus <keys>', helpOf('the vCPUs', cpusKeys))
    .option('--memory <keys>', helpOf('the memory', memoryKeys))
    .option('--disk <keys...>', helpOf('disks, one a value', diskKeys))
    .option('--net <keys...>', helpOf('network cards, one a value', netKeys))
    .option('--rng <keys>', helpOf('the random source', rngKeys))
    .option('--serial <target>', `the serial port: ${serialHelp} [null]`)
    .option('--console <target>', `the virtio console: ${serialHelp} [off]`)
    .option('--platform <keys>', helpOf('what the firmware tables say', platformKeys))
    .option('--kvm <path>', "the hypervisor's device [/dev/kvm]")
    .option('-v, --verbose', 'say what caused an error')
    .allowExcessArguments(false)
    .exitOverride()
}

/** Runs the command line; returns the exit code: 0, 1 for a failure, 2 for wrong usage. Errors are one line on stderr. */
export async function main(argv: readonly string[]): Promise<number> {
  const program = createProgram()
  let isVerbose = false
  try {
    program.parse(argv)
    const flags = program.opts()
    isVerbose = flags['verbose'] === true
    return await runMachine(flags)
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    console.error(`tsvmm: error: ${reasonOf(error)}`)
    for (let cause = isVerbose && error instanceof Error ? error.cause : undefined; cause instanceof Error; ) {
      console.error(`  caused by: ${reasonOf(cause)}`)
      cause = cause.cause
    }
    if (!(error instanceof TsvmmError) && error instanceof Error) console.error(error.stack)
    return error instanceof TsvmmError ? error.exitCode : 1
  }
}
