import { own } from '../util/own.ts'
import { hintFor, quote, splitList, unquote } from './grammar.ts'
import { invalid, type OptionObject, refusal } from './options.ts'
import { number, toggle } from './values.ts'

/** Modes by the words of the command line. Not every device can have each: the configuration refuses those that it cannot. */
const modes: Readonly<Record<string, string>> = { off: 'Off', null: 'Null', tty: 'Tty', pty: 'Pty' }
const modesWithPath: Readonly<Record<string, string>> = { file: 'File', socket: 'Socket' }

/** The keys that may stand beside a target. */
const keys = { iommu: toggle, pci_device_id: number, iobase: number } as const

/** Parses a target, `tty` or `file=PATH`, with keys beside it. Throws ERR_OPTION_INVALID naming the option. */
export function parseChardev(option: string, text: string): OptionObject {
  const result: OptionObject = {}
  for (const part of splitList(text, refusal(option))) {
    const [key = '', ...rest] = part.split('=')
    const value = rest.length === 0 ? undefined : unquote(rest.join('='))
    const kind = own(keys, key)
    if (kind !== undefined && value !== undefined) {
      if (key in result) throw invalid(option, `${key}: is there twice`)
      result[key] = kind.parse(value, refusal(option, key))
    } else {
      if ('mode' in result) throw invalid(option, `${part}: there is another target`)
      Object.assign(result, targetOf(option, key, value))
    }
  }
  if (!('mode' in result)) throw invalid(option, 'has no target')
  return result
}

function targetOf(option: string, key: string, value: string | undefined): OptionObject {
  const table = Object.hasOwn(modes, key) ? modes : modesWithPath
  const mode = Object.hasOwn(table, key) ? table[key] : undefined
  if (mode === undefined) {
    const known = [...Object.keys(modes), ...Object.keys(modesWithPath)]
    throw invalid(option, `${key} is none of off, null, tty, pty, file=PATH, socket=PATH${hintFor(key, known)}`)
  }
  if (table === modes) {
    if (value !== undefined) throw invalid(option, `${key}: takes no value`)
    return { mode }
  }
  if (value === undefined || value === '') throw invalid(option, `${key}: has no path`)
  return { mode, [key]: value }
}

interface Target {
  readonly mode: string
  readonly file?: string | undefined
  readonly socket?: string | undefined
  readonly pci_device_id?: number | undefined
  readonly iobase?: number | undefined
}

/** The text from which parseChardev makes `config`. */
export function printChardev({ mode, file, socket, pci_device_id, iobase }: Target): string {
  const path = file ?? socket
  const target = path === undefined ? mode.toLowerCase() : `${mode.toLowerCase()}=${quote(path)}`
  const beside = Object.entries({ pci_device_id, iobase }).filter(([, value]) => value !== undefined)
  return [target, ...beside.map(([key, value]) => `${key}=${value}`)].join(',')
}
