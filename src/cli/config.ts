import * as z from 'zod/mini'
import { locate, type VmConfigInput, vmConfigSchema } from '../config/vm-config.ts'
import { TsvmmError } from '../util/errors.ts'
import { cpusKeys, diskKeys, memoryKeys, netKeys, platformKeys, rngKeys } from './keys.ts'
import { type OptionObject, parseOption } from './options.ts'

/** The flags that describe a machine, as commander collects them. */
export interface MachineFlags {
  readonly kernel?: string
  readonly firmware?: string
  readonly initramfs?: string
  readonly cmdline?: string
  readonly cpus?: string
  readonly memory?: string
  readonly disk?: readonly string[]
  readonly net?: readonly string[]
  readonly rng?: string
  readonly serial?: string
  readonly console?: string
  readonly platform?: string
}

const imageTypes: Readonly<Record<string, string>> = { raw: 'Raw' }

/** The configuration that the flags describe. Throws ERR_OPTION_INVALID naming flag and key. */
export function configOf(flags: MachineFlags): VmConfigInput {
  const { kernel, firmware, initramfs, cmdline } = flags
  const candidate = {
    payload: present({ kernel, firmware, initramfs, cmdline }),
    ...present({
      cpus: flags.cpus === undefined ? undefined : cpusOf(flags.cpus),
      memory: flags.memory === undefined ? undefined : parseOption('--memory', flags.memory, memoryKeys),
      disks: flags.disk?.map(diskOf),
      net: flags.net?.map(text => parseOption('--net', text, netKeys)),
      rng: flags.rng === undefined ? undefined : parseOption('--rng', flags.rng, rngKeys),
      serial: flags.serial === undefined ? undefined : chardevOf('--serial', flags.serial),
      console: flags.console === undefined ? undefined : chardevOf('--console', flags.console),
      platform: flags.platform === undefined ? undefined : parseOption('--platform', flags.platform, platformKeys),
    }),
  }
  const result = z.safeParse(vmConfigSchema, candidate, { reportInput: true })
  if (result.success) return result.data
  const [issue] = result.error.issues
  const where = issue === undefined ? { option: 'options', reason: 'are not valid' } : locate(issue)
  throw new TsvmmError('ERR_OPTION_INVALID', where)
}

function present(object: OptionObject): OptionObject {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined))
}

function cpusOf(text: string): OptionObject {
  const { features, ...cpus } = parseOption('--cpus', text, cpusKeys)
  if (!Array.isArray(features)) return cpus
  const unknown = features.find(feature => feature !== 'amx')
  if (unknown !== undefined) {
    throw new TsvmmError('ERR_OPTION_INVALID', { option: '--cpus', reason: `features: unknown feature ${unknown}` })
  }
  return { ...cpus, features: { amx: features.length > 0 } }
}

function diskOf(text: string): OptionObject {
  const disk = parseOption('--disk', text, diskKeys)
  const type = disk['image_type']
  if (typeof type !== 'string') return disk
  const known = imageTypes[type.toLowerCase()]
  if (known === undefined) {
    throw new TsvmmError('ERR_OPTION_INVALID', {
      option: '--disk',
      reason: `image_type: ${type} is not supported yet; use raw`,
    })
  }
  return { ...disk, image_type: known }
}

/** `off`, `null`, `tty` or `file=PATH`. */
function chardevOf(option: string, text: string): OptionObject {
  const [mode = '', ...rest] = text.split('=')
  const modes: Readonly<Record<string, string>> = { off: 'Off', null: 'Null', tty: 'Tty', file: 'File' }
  const known = modes[mode]
  if (mode === 'pty' || mode === 'socket') {
    throw new TsvmmError('ERR_OPTION_INVALID', { option, reason: `${mode} is not supported yet` })
  }
  if (known === undefined || rest.length > 0 !== (mode === 'file')) {
    throw new TsvmmError('ERR_OPTION_INVALID', { option, reason: `${text} is none of off, null, tty, file=PATH` })
  }
  return mode === 'file' ? { mode: known, file: rest.join('=') } : { mode: known }
}
