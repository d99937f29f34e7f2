import { readdirSync } from 'node:fs'
import type { Command, Option } from 'commander'
import { nameOf } from '../vmm/registry.native.ts'
import { remoteCommands } from './commands.ts'
import { machineFlags, programFlags } from './flags.ts'
import { consoleDevices } from './local-commands.ts'
import { listedMachines } from './machines.ts'
import { invalid, type OptionKeys } from './options.ts'

export const shells = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof shells)[number]

/** What is asked of the command `completion`: a shell's script, or, by these scripts, how the last of `words` can go on. */
export async function runCompletion(program: Command, shell: string, words: readonly string[]): Promise<number> {
  if (shell === 'words') {
    for (const word of completionsOf(program, words)) console.log(word)
    return 0
  }
  const known = shells.find(each => each === shell)
  if (known === undefined) throw invalid('completion', `${shell} is not one of ${shells.join(', ')}`)
  process.stdout.write(completionScript(known))
  return 0
}

/** How the last of `words`, which follow the program's name, can go on; as whole words. */
export function completionsOf(program: Command, words: readonly string[]): string[] {
  const current = words.at(-1) ?? ''
  const { command, option } = contextOf(program, words.slice(0, -1))
  const inline = /^(--[a-z-]+)=/.exec(current)
  if (inline !== null) {
    const [start, name = ''] = inline
    return valuesOf(name, optionNamed(command, name), current.slice(start.length)).map(value => `${start}${value}`)
  }
  if (current.startsWith('-')) return startingWith(current, flagsOf(command))
  if (option !== undefined) return valuesOf(option.long ?? '', option, current)
  const commands = command.commands.map(each => each.name())
  return [...startingWith(current, commands), ...argumentsOf(command, current)]
}

interface Context {
  readonly command: Command
  /** It awaits a value. */
  readonly option?: Option | undefined
}

function contextOf(program: Command, words: readonly string[]): Context {
  let command = program
  let option: Option | undefined
  for (const word of words) {
    if (word.startsWith('-')) {
      const named = optionNamed(command, word)
      option = named?.required === true ? named : undefined
    } else if (option !== undefined) {
      if (!option.variadic) option = undefined
    } else {
      command = command.commands.find(each => each.name() === word) ?? command
    }
  }
  return { command, option }
}

function optionNamed(command: Command, name: string): Option | undefined {
  return command.options.find(each => each.long === name || each.short === name)
}

function flagsOf(command: Command): string[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .map(({ long }) => long ?? '')
}

function valuesOf(name: string, option: Option | undefined, text: string): string[] {
  const flag = [...machineFlags, ...programFlags].find(each => each.flag.split(' ', 1)[0] === name)
  if (flag?.keys !== undefined) return keysOf(flag.keys, text)
  if (option === undefined) return []
  if (name === '--port') return startingWith(text, consoleDevices)
  if (option.flags.includes('<TARGET>')) return targetsOf(option, text)
  return /<(PATH|SOCKET)>/.test(option.flags) ? filesAt(text) : []
}

const targets = ['off', 'null', 'tty', 'pty', 'file=', 'socket=']

/** Of a serial port or a console: its help names those that it can have. */
function targetsOf({ description }: Option, text: string): string[] {
  const named = targets.filter(target => description.includes(target))
  return [...startingWith(text, named), ...pathAfter('file=', text), ...pathAfter('socket=', text)]
}

function argumentsOf(command: Command, text: string): string[] {
  const keys = remoteCommands.find(each => each.name === command.name())?.keys
  if (keys !== undefined) return keysOf(keys, text)
  if (command.registeredArguments.some(each => each.name() === 'machine')) {
    return startingWith(text, listedMachines().map(nameOf))
  }
  return command.registeredArguments.some(each => ['file', 'directory', 'other'].includes(each.name()))
    ? filesAt(text)
    : []
}

/** `key=value,ke`: keys that are not there yet; behind a key its values. */
function keysOf(keys: OptionKeys, text: string): string[] {
  const start = text.slice(0, text.lastIndexOf(',') + 1)
  const part = text.slice(start.length)
  const separator = part.indexOf('=')
  const helped = Object.entries(keys).filter(([, { help }]) => help !== undefined)
  if (separator < 0) {
    const free = helped.map(([key]) => `${key}=`).filter(key => !`,${start}`.includes(`,${key}`))
    return startingWith(part, free).map(key => start + key)
  }
  const key = part.slice(0, separator)
  const form = helped.find(([name]) => name === key)?.[1].kind.form ?? ''
  const value = part.slice(separator + 1)
  const values = form === 'PATH' ? filesAt(value) : startingWith(value, choicesOf(form))
  return values.map(each => `${start}${key}=${each}`)
}

/** `on|off`, as help has it. */
function choicesOf(form: string): string[] {
  return /^[\w-]+(\|[\w-]+)+$/.test(form) ? form.split('|') : []
}

function pathAfter(start: string, text: string): string[] {
  return text.startsWith(start) ? filesAt(text.slice(start.length)).map(path => start + path) : []
}

/** Directories end with a slash, so that one goes on in them. */
function filesAt(text: string): string[] {
  const folder = text.slice(0, text.lastIndexOf('/') + 1)
  const name = text.slice(folder.length)
  return entriesOf(folder === '' ? '.' : folder)
    .filter(each => each.startsWith(name) && (name !== '' || !each.startsWith('.')))
    .map(each => folder + each)
}

/** Empty where it cannot be read: there is nothing to be offered. */
function entriesOf(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { withFileTypes: true })
    return entries.map(each => (each.isDirectory() ? `${each.name}/` : each.name)).toSorted()
  } catch {
    return []
  }
}

function startingWith(text: string, words: readonly string[]): string[] {
  return words.filter(word => word.startsWith(text))
}

/** Every shell asks this program, which knows the words; a word that ends with `=`, `,` or `/` goes on. */
export function completionScript(shell: Shell): string {
  return scripts[shell]
}

const scripts: Readonly<Record<Shell, string>> = {
  // Bash breaks words at = and : as COMP_WORDBREAKS says, and wants what follows of the last part alone.
  bash: `# Completion of tsvmm for bash: source <(tsvmm completion bash)
_tsvmm() {
  local line=\${COMP_LINE:0:COMP_POINT} current start word
  local -a words
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  current=\${words[-1]}
  start=\${current%"\${current##*[=:]}"}
  while IFS= read -r word; do
    COMPREPLY+=("\${word#"$start"}")
  done < <(tsvmm completion words -- "\${words[@]:1}" 2>/dev/null)
  [[ \${#COMPREPLY[@]} -eq 1 && \${COMPREPLY[0]} == *[=,/] ]] && compopt -o nospace 2>/dev/null
  return 0
}
complete -F _tsvmm tsvmm
`,
  zsh: `#compdef tsvmm
# Completion of tsvmm for zsh: tsvmm completion zsh >~/.zfunc/_tsvmm, with ~/.zfunc in fpath
_tsvmm() {
  local -a found
  found=("\${(@f)$(tsvmm completion words -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -Q -S '' -- \${(M)found:#*[=,/]}
  compadd -Q -- \${found:#*[=,/]}
}
if [[ $funcstack[1] == _tsvmm ]]; then _tsvmm "$@"; else compdef _tsvmm tsvmm; fi
`,
  fish: `# Completion of tsvmm for fish: tsvmm completion fish >~/.config/fish/completions/tsvmm.fish
function __tsvmm_words
  set -l before (commandline -opc)
  tsvmm completion words -- $before[2..-1] (commandline -ct) 2>/dev/null
end
complete -c tsvmm -f -a '(__tsvmm_words)'
`,
}
