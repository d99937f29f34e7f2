import { hintFor, quote, splitList, unquote } from './grammar.ts'
import { invalid, type OptionObject, refusal } from './options.ts'
import { number, toggle } from './values.ts'

/** Modes by the words of the command line. Not all have machinery: the configuration refuses those that do not. */
const modes: Readonly<Record<string, string>> = { off: 'Off', null: 'Null', tty: 'Tty', pty: 'Pty' }
const modesWithPath: Readonly<Record<string, string>> = { file: 'File', socket: 'Socket' }

/**
 * Parses `off`, `null`, `tty` or `file=PATH`, and what else Cloud Hypervisor has. Throws ERR_OPTION_INVALID naming the
 * option.
 */
export function parseChardev(option: string, text: string): OptionObject {
  const result: OptionObject = {}
  for (const part of splitList(text, refusal(option))) {
    const [key = '', ...rest] = part.split('=')
    const value = rest.length === 0 ? undefined : unquote(rest.join('='))
    if (key === 'iommu' && value !== undefined) result['iommu'] = toggle.parse(value, refusal(option, key))
    else if (key === 'pci_device_id' && value !== undefined) {
      result['pci_device_id'] = number.parse(value, refusal(option, key))
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
    throw invalid(option, `${key} is none of off, null, tty, file=PATH${hintFor(key, known)}`)
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
  readonly pci_device_id?: number | undefined
}

/** The text from which parseChardev makes `config`. */
export function printChardev({ mode, file, pci_device_id }: Target): string {
  const target = file === undefined ? mode.toLowerCase() : `${mode.toLowerCase()}=${quote(file)}`
  return pci_device_id === undefined ? target : `${target},pci_device_id=${pci_device_id}`
}
