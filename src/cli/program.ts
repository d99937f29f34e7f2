import { Command, CommanderError } from 'commander'
import { reasonsOf, TsvmmError } from '../util/errors.ts'
import { type ChosenCommand, type RemoteCommand, remoteCommands } from './commands.ts'
import { addFlags, type FlagHelp, flagsAmong, helpOf, machineFlags, programFlags, unsupportedFlag } from './flags.ts'
import { hintFor } from './grammar.ts'
import { type LocalCommand, localCommands } from './local-commands.ts'
import type { SnapshotTool } from './snapshot-tools.ts'
import { standInError } from './stand-in.ts'
import { invokedAs, isStandIn, versionText } from './version.ts'

/** A command that needs no machine, ready to be run; returns the exit code. */
type ChosenTool = () => Promise<number>

/**
 * The program's flags, commands and help, without anything that it does: `onCommand` and `onTool` take the command that was
 * given.
 */
export function createProgram(
  onCommand: (chosen: ChosenCommand) => void = () => {},
  onTool: (chosen: ChosenTool) => void = () => {},
): Command {
  const program = new Command('tsvmm')
    .description(
      'Runs a virtual machine until it powers off. Flags, keys and defaults are those of Cloud Hypervisor.\n' +
        'KEYS are key=value,key=value; a list is [a,b], a value with commas stands in "double quotes".\n' +
        'A command drives the program that serves --api-socket.',
    )
    .usage('[options]\n       tsvmm --api-socket PATH COMMAND')
    .option('-V, --version', 'print the version and end')
    .on('option:version', () => {
      console.log(versionText(invokedAs()))
      throw new CommanderError(0, 'commander.version', '')
    })
    .helpOption('-h, --help', 'print this text and end')
    .helpCommand(false)
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .configureHelp({ sortOptions: false })
    .action(() => {})
  addFlags(program)
  for (const command of remoteCommands) {
    const added = addCommand(program, command, onCommand)
    if (command.name === 'snapshot') addTools(added, onTool)
  }
  for (const command of localCommands) addLocal(program, command, onTool)
  addCompletion(program, onTool)
  return program
}

function addCommand(program: Command, command: RemoteCommand, onCommand: (chosen: ChosenCommand) => void): Command {
  const added = program
    .command(`${command.name}${argumentOf(command)}`)
    .description(descriptionOf(command))
    .summary(command.summary)
    .option('--json', 'print the answer as it comes')
    .allowExcessArguments(false)
  added.action(() => onCommand({ command, argument: added.args[0], isJson: added.opts()['json'] === true }))
  return added
}

export const snapshotTools: Readonly<Record<SnapshotTool, string>> = {
  inspect: 'say what is in one, whatever machine it is of',
  verify: 'read all of one and say what is wrong with it',
  diff: 'say in what two of them differ',
  merge: 'make of one that stands on others one that stands on nothing',
}

const toolArguments: Readonly<Record<SnapshotTool, string>> = {
  ...{ inspect: '<directory>', verify: '<directory>', diff: '<directory> <other>', merge: '<directory> <keys>' },
}

function addTools(snapshot: Command, onTool: (chosen: ChosenTool) => void): void {
  for (const tool of ['inspect', 'verify', 'diff', 'merge'] as const) {
    const added = snapshot
      .command(`${tool} ${toolArguments[tool]}`)
      .description(snapshotTools[tool])
      .option('--json', 'print it as JSON')
      .allowExcessArguments(false)
    added.action(() =>
      onTool(async () => {
        const { runSnapshotTool } = await import('./snapshot-tools.ts')
        return await runSnapshotTool(tool, added.args, added.optsWithGlobals()['json'] === true)
      }),
    )
  }
}

function addLocal(program: Command, command: LocalCommand, onTool: (chosen: ChosenTool) => void): void {
  const { name, summary, takesMachine, options } = command
  const added = program.command(`${name}${takesMachine ? ' [machine]' : ''}`).description(summary)
  for (const [flags, help] of options) added.option(flags, help)
  added.allowExcessArguments(false)
  added.action(() => {
    const flags = program.opts()
    const chosen = { machine: added.args[0], options: added.opts(), flags }
    onTool(async () => {
      refuseFlags(name, flagsBeside(command), flags)
      const { runLocal } = await import('./local.ts')
      return await runLocal(name, chosen)
    })
  })
}

/** Flags that would be without effect. */
function flagsBeside({ takesMachine }: LocalCommand): FlagHelp[] {
  const ofProgram = programFlags.filter(({ flag }) => !flag.startsWith('--no-'))
  const used = takesMachine ? '--api-socket ' : undefined
  return [...machineFlags, ...ofProgram.filter(({ flag }) => used === undefined || !flag.startsWith(used))]
}

function addCompletion(program: Command, onTool: (chosen: ChosenTool) => void): void {
  const added = program
    .command('completion <shell> [words...]')
    .description(
      'print what bash, zsh or fish is to source to complete command lines of tsvmm;\n' +
        'they ask for the ways in which the last of some words can go on: completion words -- WORDS',
    )
    .summary('print the completion script of bash, zsh or fish')
  added.action((shell: string, words: readonly string[]) =>
    onTool(async () => {
      const { runCompletion } = await import('./completion.ts')
      return await runCompletion(program, shell, words)
    }),
  )
}

function argumentOf({ takesBody, keys, isOptional }: RemoteCommand): string {
  if (takesBody === true) return ' <file>'
  if (isOptional === true) return ' [keys]'
  return keys === undefined ? '' : ' <keys>'
}

function descriptionOf({ summary, keys }: RemoteCommand): string {
  return keys === undefined ? summary : helpOf({ flag: '', summary: `${summary}:`, keys })
}

/** A program that has not been run yet, and what its command line chose in the end. */
interface Parser {
  readonly program: Command
  readonly chosen: { command?: ChosenCommand; tool?: ChosenTool }
}

function createParser(): Parser {
  const chosen: Parser['chosen'] = {}
  const program = createProgram(
    command => {
      chosen.command = command
    },
    tool => {
      chosen.tool = tool
    },
  )
  return { program, chosen }
}

let prepared: Parser | undefined

/** Does what main() begins with: for a startup snapshot. */
export function prepareMain(): void {
  prepared = createParser()
}

/** Runs the command line; returns the exit code: 0, 1 for a failure, 2 for wrong usage. Errors are one line on stderr. */
export async function main(argv: readonly string[]): Promise<number> {
  const { program, chosen: parsed } = prepared ?? createParser()
  prepared = undefined
  let verbosity = 0
  try {
    program.parse(argv)
    const flags = program.opts()
    const { command: chosen, tool: chosenTool } = parsed
    verbosity = Number(flags['verbose'])
    const unsupported = unsupportedFlag(flags)
    if (unsupported !== undefined) {
      throw new TsvmmError('ERR_OPTION_INVALID', { option: unsupported, reason: 'is not supported yet' })
    }
    // Loaded only now: wrong usage and help need neither the schema nor the machine.
    if (chosenTool !== undefined) return await chosenTool()
    const restores = chosen?.command.name === 'restore' ? { restore: chosen.argument ?? '', resumes: true } : {}
    const receives = chosen?.command.name === 'receive-migration' ? { receiveMigration: chosen.argument ?? '' } : {}
    if (
      flags['clone'] !== undefined &&
      (chosen === undefined ? flags['restore'] !== undefined : 'restore' in restores)
    ) {
      const { runClones } = await import('./clones.ts')
      return await runClones({ ...flags, ...restores }, verbosity)
    }
    if (('restore' in restores || 'receiveMigration' in receives) && flags['apiSocket'] === undefined) {
      const { runMachine } = await import('./run.ts')
      return await runMachine({ ...flags, ...restores, ...receives }, verbosity)
    }
    if (chosen !== undefined) {
      refuseFlags(chosen.command.name, machineFlags, flags)
      const { runCommand } = await import('./remote.ts')
      return await runCommand(chosen, flags)
    }
    const { runMachine } = await import('./run.ts')
    return await runMachine(flags, verbosity)
  } catch (error) {
    if (error instanceof CommanderError) return endOfParsing(error, program)
    report(error, verbosity)
    return error instanceof TsvmmError ? error.exitCode : 1
  }
}

/** They would be without effect. */
function refuseFlags(command: string, known: readonly FlagHelp[], flags: Readonly<Record<string, unknown>>): void {
  const [option] = flagsAmong(known, flags)
  if (option === undefined) return
  throw new TsvmmError('ERR_OPTION_INVALID', { option, reason: `does not go with the command ${command}` })
}

/** Help and version end the parsing, too. Usage errors are put on one line: what is wrong, and what was perhaps meant. */
function endOfParsing({ code, exitCode, message }: CommanderError, program: Command): number {
  if (exitCode === 0) return 0
  const [word = ''] = program.args
  const names = [...remoteCommands, ...localCommands].map(({ name }) => name)
  if (code === 'commander.excessArguments' && !names.includes(word)) {
    console.error(`tsvmm: error: unknown command '${word}'${hintFor(word, names)}`)
    return 2
  }
  const [first = '', hint] = message.replace(/^error: /, '').split('\n')
  const suffix = hint === undefined ? '' : `; ${hint.replace(/^\(D(.*)\)$/, 'd$1')}`
  console.error(`tsvmm: error: ${first}${suffix}`)
  return 2
}

/** One line; with -v also what caused it; with -vv, or if it should not have happened, where it comes from. */
function report(error: unknown, verbosity: number): void {
  const [reason = '', ...causes] = reasonsOf(error)
  if (isStandIn()) console.error(standInError([reason, ...causes]))
  else {
    console.error(`tsvmm: error: ${reason}`)
    if (verbosity > 0) for (const cause of causes) console.error(`  caused by: ${cause}`)
  }
  if (error instanceof Error && (verbosity > 1 || !(error instanceof TsvmmError))) console.error(error.stack)
}
