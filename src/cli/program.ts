import { Command, CommanderError } from 'commander'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { addFlags, unsupportedFlag } from './flags.ts'
import { versionText } from './version.ts'

/** The program's flags and help, without anything that it does. */
export function createProgram(invokedAs: string): Command {
  const program = new Command('tsvmm')
    .description(
      'Runs a virtual machine until it powers off. Flags, keys and defaults are those of Cloud Hypervisor.\n' +
        'KEYS are key=value,key=value; a list is [a,b], a value with commas stands in "double quotes".',
    )
    .version(versionText(invokedAs), '-V, --version', 'print the version and end')
    .helpOption('-h, --help', 'print this text and end')
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .configureHelp({ sortOptions: false })
  addFlags(program)
  return program
}

/** Runs the command line; returns the exit code: 0, 1 for a failure, 2 for wrong usage. Errors are one line on stderr. */
export async function main(argv: readonly string[]): Promise<number> {
  const program = createProgram(argv[1] ?? 'tsvmm')
  let verbosity = 0
  try {
    program.parse(argv)
    const flags = program.opts()
    verbosity = Number(flags['verbose'])
    const unsupported = unsupportedFlag(flags)
    if (unsupported !== undefined) {
      throw new TsvmmError('ERR_OPTION_INVALID', { option: unsupported, reason: 'is not supported yet' })
    }
    // Loaded only now: wrong usage and help need neither the schema nor the machine.
    const { runMachine } = await import('./run.ts')
    return await runMachine(flags, verbosity)
  } catch (error) {
    if (error instanceof CommanderError) return endOfParsing(error)
    report(error, verbosity)
    return error instanceof TsvmmError ? error.exitCode : 1
  }
}

/** Help and version end the parsing, too. Usage errors are put on one line: what is wrong, and what was perhaps meant. */
function endOfParsing({ exitCode, message }: CommanderError): number {
  if (exitCode === 0) return 0
  const [first = '', hint] = message.replace(/^error: /, '').split('\n')
  const suffix = hint === undefined ? '' : `; ${hint.replace(/^\(D(.*)\)$/, 'd$1')}`
  console.error(`tsvmm: error: ${first}${suffix}`)
  return 2
}

/** One line; with -v also what caused it; with -vv, or if it should not have happened, where it comes from. */
function report(error: unknown, verbosity: number): void {
  console.error(`tsvmm: error: ${reasonOf(error)}`)
  if (!(error instanceof Error)) return
  if (verbosity > 0) {
    for (let { cause } = error; cause instanceof Error; cause = cause.cause) {
      console.error(`  caused by: ${reasonOf(cause)}`)
    }
  }
  if (verbosity > 1 || !(error instanceof TsvmmError)) console.error(error.stack)
}
