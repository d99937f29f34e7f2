import { CommanderError } from 'commander'
import { apiRoot, routes } from '../../../src/api/routes.ts'
import type { ChosenCommand } from '../../../src/cli/commands.ts'
import { configOf } from '../../../src/cli/config.ts'
import { machineFlags, programFlags } from '../../../src/cli/flags.ts'
import { parseOption, withFirstKey } from '../../../src/cli/options.ts'
import { createProgram } from '../../../src/cli/program.ts'
import { reasonOf, TsvmmError } from '../../../src/util/errors.ts'
import type { Finding } from './links.ts'
import type { Page } from './page.ts'
import { type Command, commandsOf } from './shell.ts'

/** What there is to be run in the checkout. */
export interface Checkout {
  readonly npmScripts: ReadonlySet<string>
  exists(path: string): boolean
}

/** Languages of fences whose lines are commands. */
const shells = new Set(['sh', 'bash'])

/** Commands in documents that would not run: wrong flags and keys, scripts and endpoints that are not there. */
export function wrongCommands(pages: readonly Page[], checkout: Checkout): Finding[] {
  return pages.flatMap(({ path, fences }) =>
    fences.flatMap(({ language, text, line }) => {
      if (language === '') return [`${path}:${line}: the block does not say what it is`]
      if (!shells.has(language)) return []
      return commandsOf(text).flatMap(command => {
        const reason = faultOf(command[0] === 'sudo' ? command.slice(1) : command, checkout)
        return reason === undefined ? [] : [`${path}:${line}: ${command.join(' ')}: ${reason}`]
      })
    }),
  )
}

function faultOf(command: Command, checkout: Checkout): string | undefined {
  const [program = '', ...words] = command
  if (/^(.*\/)?(tsvmm|cloud-hypervisor)$/.test(program)) return faultOfTsvmm(words)
  if (program === 'npm') return faultOfNpm(words, checkout)
  if (program === 'curl') return faultOfCurl(words)
  const script = program === 'node' ? words.find(word => !word.startsWith('-')) : program
  if (script?.startsWith('scripts/') === true && !checkout.exists(script)) return `there is no ${script}`
  return undefined
}

/** Flags whose first key need not be said. */
const beginsWithValue = new Set(['--restore', '--receive-migration', '--clone'])

/** As the program itself parses it; `...` stands for more of the same. */
function faultOfTsvmm(words: readonly string[]): string | undefined {
  let chosen: ChosenCommand | undefined
  const program = createProgram(
    command => {
      chosen = command
    },
    () => {},
  )
  const said = words.filter(word => word !== '...')
  try {
    if (said.includes('--version') || said.includes('--help')) return undefined
    const flags = program.parse(said, { from: 'user' }).opts()
    for (const { flag, keys } of [...machineFlags, ...programFlags]) {
      const [name = ''] = flag.split(' ')
      const values = [flags[attributeOf(name)] ?? []].flat()
      if (keys === undefined) continue
      for (const value of values.map(String)) {
        parseOption(name, beginsWithValue.has(name) ? withFirstKey(value, keys) : value, keys)
      }
    }
    if (flags['kernel'] !== undefined && said.length === words.length) configOf(flags)
    const { command, argument } = chosen ?? {}
    if (command?.keys !== undefined && argument !== undefined) {
      parseOption(command.name, withFirstKey(argument, command.keys), command.keys)
    }
    return undefined
  } catch (error) {
    if (error instanceof CommanderError || error instanceof TsvmmError) return reasonOf(error)
    throw error
  }
}

/** `--api-socket` is `apiSocket` among the parsed flags. */
function attributeOf(flag: string): string {
  return flag.replace(/^--/, '').replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
}

/** What npm has without a script of that name. */
const ownOfNpm = new Set(['ci', 'exec', 'install', 'pack', 'publish', 'test', 'version'])

function faultOfNpm([verb = '', name = '']: readonly string[], { npmScripts }: Checkout): string | undefined {
  if (verb !== 'run') return ownOfNpm.has(verb) ? undefined : `npm has no ${verb}`
  return npmScripts.has(name) ? undefined : `there is no script ${name}`
}

function faultOfCurl(words: readonly string[]): string | undefined {
  const url = words.find(word => word.includes(apiRoot))
  if (url === undefined) return undefined
  const path = url.slice(url.indexOf(apiRoot) + apiRoot.length)
  const method = words[words.indexOf('-X') + 1]
  const verb = words.includes('-X') ? method : 'GET'
  return routes.some(route => route.path === path && route.method === verb) ? undefined : `there is no ${verb} ${path}`
}
