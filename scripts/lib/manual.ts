import type { Command, Option } from 'commander'
import { remoteCommands } from '../../src/cli/commands.ts'
import { type FlagHelp, keyLines, machineFlags, programFlags } from '../../src/cli/flags.ts'
import type { OptionKeys } from '../../src/cli/options.ts'
import { createProgram } from '../../src/cli/program.ts'

/** The manual page tsvmm(1) in man(7)'s language, from the tables that command lines are parsed by. */
export function manualPage(version: string): string {
  const program = createProgram()
  const lines = [
    `.TH TSVMM 1 "" "tsvmm ${escaped(version)}" "User Commands"`,
    ...['.SH NAME', 'tsvmm \\- a virtual machine monitor whose machines are saved, restored, cloned and moved'],
    ...['.SH SYNOPSIS', '.nf', '.B tsvmm \\fIoptions\\fP'],
    ...['.B tsvmm \\-\\-api\\-socket \\fIPATH COMMAND\\fP', '.B tsvmm restore \\fIKEYS\\fP', '.fi'],
    ...[
      '.SH DESCRIPTION',
      ...program
        .description()
        .split('\n')
        .flatMap((each, index) => [...(index === 0 ? [] : ['.PP']), escaped(each)]),
    ],
    ...['.SH OPTIONS', '.SS The machine', ...machineFlags.flatMap(flag)],
    ...['.SS The program', ...programFlags.flatMap(flag), ...otherOptions(program).flatMap(plainOption)],
    ...['.SH COMMANDS', ...program.commands.flatMap(each => command(each))],
    ...['.SH EXIT STATUS', ...exitCodes.flatMap(([code, when]) => entry(code, when))],
    ...['.SH SEE ALSO', 'docs/reference/cli.md, docs/guides'],
  ]
  return `${lines.join('\n')}\n`
}

const exitCodes = [
  ['0', 'the guest powered off, a signal or a client of the API ended the machine, or a command was carried out'],
  ['1', 'the machine could not be built, the guest crashed, or a command was refused'],
  ['2', 'the command line is wrong'],
] as const

function flag({ flag: form, summary, keys }: FlagHelp): string[] {
  return [...entry(form, summary), ...keyList(keys)]
}

function keyList(keys: OptionKeys | undefined): string[] {
  if (keys === undefined) return []
  return ['.RS', ...keyLines(keys).flatMap(({ form, help }) => entry(form, help)), '.RE']
}

/** What commander adds to the tables: verbosity, version and help. */
function otherOptions(program: Command): Option[] {
  const known = new Set([...machineFlags, ...programFlags].map(each => each.flag))
  return program
    .createHelp()
    .visibleOptions(program)
    .filter(({ flags }) => !known.has(flags))
}

function plainOption({ flags, description }: Option): string[] {
  return entry(flags, description)
}

function command(each: Command, parent = ''): string[] {
  const name = `${parent}${each.name()}`
  const takes = each.registeredArguments.map(argument => {
    const list = argument.variadic ? `${argument.name()}...` : argument.name()
    return argument.required ? `<${list}>` : `[${list}]`
  })
  const keys = parent === '' ? remoteCommands.find(remote => remote.name === name)?.keys : undefined
  const tools = each.commands.flatMap(tool => command(tool, `${name} `))
  return [...entry([name, ...takes].join(' '), each.summary() || each.description()), ...keyList(keys), ...tools]
}

function entry(form: string, text: string): string[] {
  return ['.TP', `.B ${escaped(form)}`, escaped(text)]
}

/** Backslashes, minus signs, and what would be a request at the start of a line (groff_man_style(7)). */
function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .split('\n')
    .map(line => line.replace(/^(?=[.'])/, '\\&'))
    .join('\n.br\n')
}
