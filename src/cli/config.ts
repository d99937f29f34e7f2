import { parseVmConfig, type VmConfig } from '../config/vm-config.ts'
import { parseChardev, printChardev } from './chardev.ts'
import { cpusKeys, diskKeys, memoryKeys, netKeys, platformKeys, rateLimitGroupKeys, rngKeys } from './keys.ts'
import { parseOption, printOption } from './options.ts'

/** The flags that describe a machine, as they stand on the command line. */
export interface MachineFlags {
  readonly kernel?: string
  readonly firmware?: string
  readonly initramfs?: string
  readonly cmdline?: string
  readonly cpus?: string
  readonly memory?: string
  readonly disk?: readonly string[]
  readonly rateLimitGroup?: readonly string[]
  readonly net?: readonly string[]
  readonly rng?: string
  readonly serial?: string
  readonly console?: string
  readonly debugConsole?: string
  readonly platform?: string
}

/** The configuration that the flags describe. Throws ERR_OPTION_INVALID or ERR_CONFIG_INVALID naming flag and key. */
export function configOf(flags: MachineFlags): VmConfig {
  const { kernel, firmware, initramfs, cmdline } = flags
  return parseVmConfig({
    payload: { kernel, firmware, initramfs, cmdline },
    cpus: optional(flags.cpus, text => parseOption('--cpus', text, cpusKeys)),
    memory: optional(flags.memory, text => parseOption('--memory', text, memoryKeys)),
    disks: flags.disk?.map(text => parseOption('--disk', text, diskKeys)),
    rate_limit_groups: flags.rateLimitGroup?.map(text => parseOption('--rate-limit-group', text, rateLimitGroupKeys)),
    net: flags.net?.map(text => parseOption('--net', text, netKeys)),
    rng: optional(flags.rng, text => parseOption('--rng', text, rngKeys)),
    serial: optional(flags.serial, text => parseChardev('--serial', text)),
    console: optional(flags.console, text => parseChardev('--console', text)),
    debug_console: optional(flags.debugConsole, text => parseChardev('--debug-console', text)),
    platform: optional(flags.platform, text => parseOption('--platform', text, platformKeys)),
  })
}

function optional<T>(text: string | undefined, parse: (text: string) => T): T | undefined {
  return text === undefined ? undefined : parse(text)
}

/** The flags that describe a configuration, every default said: configOf of them is the same configuration. */
export function flagsOf(config: VmConfig): MachineFlags {
  const { kernel, firmware, initramfs, cmdline } = config.payload
  return {
    ...(kernel === undefined ? {} : { kernel }),
    ...(firmware === undefined ? {} : { firmware }),
    ...(initramfs === undefined ? {} : { initramfs }),
    ...(cmdline === '' ? {} : { cmdline }),
    cpus: printOption(config.cpus, cpusKeys),
    memory: printOption(config.memory, memoryKeys),
    ...(config.disks.length === 0 ? {} : { disk: config.disks.map(disk => printOption(disk, diskKeys)) }),
    ...(config.rate_limit_groups.length === 0
      ? {}
      : { rateLimitGroup: config.rate_limit_groups.map(group => printOption(group, rateLimitGroupKeys)) }),
    ...(config.net.length === 0 ? {} : { net: config.net.map(card => printOption(card, netKeys)) }),
    rng: printOption(config.rng, rngKeys),
    serial: printChardev(config.serial),
    console: printChardev(config.console),
    debugConsole: printChardev(config.debug_console),
    platform: printOption(config.platform, platformKeys),
  }
}
