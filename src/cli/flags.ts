import { type Command, InvalidArgumentError, Option } from 'commander'
import {
  cloneKeys,
  cpusKeys,
  diskKeys,
  eventMonitorKeys,
  memoryKeys,
  netKeys,
  platformKeys,
  rateLimitGroupKeys,
  receiveMigrationKeys,
  restoreKeys,
  rngKeys,
} from './keys.ts'
import type { OptionKeys } from './options.ts'

/** A flag and what help says of it. */
export interface FlagHelp {
  readonly flag: string
  readonly summary: string
  readonly keys?: OptionKeys
}

const chardevTargets = 'off, null, tty, pty or file=PATH'

/** The flags that describe a machine, in the order of help and reference. */
export const machineFlags: readonly FlagHelp[] = [
  { flag: '--kernel <PATH>', summary: 'kernel to boot: an ELF with a PVH note, or a bzImage' },
  { flag: '--firmware <PATH>', summary: 'firmware to boot from the disks with: an ELF with a PVH note, as CLOUDHV.fd' },
  { flag: '--initramfs <PATH>', summary: 'initial RAM file system for the kernel' },
  { flag: '--cmdline <TEXT>', summary: 'command line of the kernel' },
  { flag: '--cpus <KEYS>', summary: 'virtual CPUs:', keys: cpusKeys },
  { flag: '--memory <KEYS>', summary: 'memory:', keys: memoryKeys },
  { flag: '--disk <KEYS...>', summary: 'disks, one for each value; may be given again:', keys: diskKeys },
  {
    flag: '--rate-limit-group <KEYS...>',
    summary: 'how much disks may do together, a group for each value; may be given again:',
    keys: rateLimitGroupKeys,
  },
  { flag: '--net <KEYS...>', summary: 'network cards, one for each value; may be given again:', keys: netKeys },
  { flag: '--rng <KEYS>', summary: 'source of randomness:', keys: rngKeys },
  { flag: '--serial <TARGET>', summary: 'serial port: off, null, tty, pty, file=PATH or socket=PATH [null]' },
  { flag: '--console <TARGET>', summary: `virtio console: ${chardevTargets} [tty]` },
  {
    flag: '--debug-console <TARGET>',
    summary: `port that takes text, 0xe9 unless iobase=N is behind it: ${chardevTargets} [off]`,
  },
  { flag: '--platform <KEYS>', summary: 'what the firmware tables tell the guest:', keys: platformKeys },
]

/** The flags that say how the program runs. */
export const programFlags: readonly FlagHelp[] = [
  {
    flag: '--api-socket <SOCKET>',
    summary: 'serve the API on a Unix socket: path=PATH, PATH or fd=N; with a command: where it is served',
  },
  { flag: '--restore <KEYS>', summary: 'run a machine from a snapshot instead:', keys: restoreKeys },
  {
    flag: '--receive-migration <KEYS>',
    summary: 'run a machine that comes from another host instead:',
    keys: receiveMigrationKeys,
  },
  {
    flag: '--clone <KEYS>',
    summary: 'with restore, many machines of one snapshot; {n} in paths and names is the number of each:',
    keys: cloneKeys,
  },
  { flag: '--event-monitor <KEYS>', summary: 'tell what happens, a JSON object an event:', keys: eventMonitorKeys },
  {
    flag: '--strict',
    summary: 'refuse requests with fields that nobody knows; they are left out otherwise, as Cloud Hypervisor does',
  },
  { flag: '--no-shutdown', summary: 'go on when the machine ends by itself; it can boot again through the API' },
  { flag: '--kvm <PATH>', summary: 'device of the hypervisor [/dev/kvm]' },
  { flag: '--log-file <PATH>', summary: 'append the log to a file [standard error]' },
]

/** Help for the values of a key: `size=SIZE  guest RAM [512M]`, one a line. */
export function keyLines(keys: OptionKeys): { readonly form: string; readonly help: string }[] {
  return Object.entries(keys).flatMap(([key, { kind, help }]) =>
    help === undefined ? [] : [{ form: `${key}=${kind.form}`, help }],
  )
}

/** Longer ones push their help to the right instead of all others. */
const longestForm = 24

export function helpOf({ summary, keys }: FlagHelp): string {
  const all = keyLines(keys ?? {})
  const width = Math.min(longestForm, Math.max(...all.map(({ form }) => form.length)))
  const lines = all.map(({ form, help }) => `  ${form.padEnd(width)}  ${help}`)
  return [summary, ...lines].join('\n')
}

/** Cloud Hypervisor's flags without machinery here: known, so that the error says more than that they are unknown. */
const unsupportedFlags = [
  ...['--balloon <X>', '--device <X...>', '--fs <X...>'],
  ...[
    '--fw-cfg-config <X>',
    '--gdb <X>',
    '--generic-vhost-user <X...>',
    '--host-data <X>',
    '--igvm <X>',
    '--ivshmem <X>',
  ],
  ...['--landlock', '--landlock-rules <X...>', '--log-format <X>', '--memory-zone <X...>', '--numa <X...>'],
  ...['--pci-segment <X...>', '--pmem <X...>', '--pvmemcontrol', '--pvpanic'],
  ...[
    '--rtc',
    '--seccomp <X>',
    '--sgx-epc <X...>',
    '--tpm <X>',
    '--user-device <X...>',
    '--vdpa <X...>',
    '--vsock <X>',
  ],
  ...['--watchdog'],
]

/** Adds every flag, except those for help and version. */
export function addFlags(program: Command): void {
  for (const each of [...machineFlags, ...programFlags]) {
    const takesOne = each.flag.includes('<') && !each.flag.includes('...')
    const option = new Option(each.flag, helpOf(each))
    if (takesOne) option.argParser(once(each.flag.includes('<PATH>')))
    program.addOption(option)
  }
  program.option(
    '-v, --verbose',
    'log more, and say what caused an error; -vv: still more',
    (_, count: number) => count + 1,
    0,
  )
  for (const flag of unsupportedFlags) program.addOption(new Option(flag).hideHelp())
}

/** The last of several values would win silently; an empty path is one that a script has lost. */
function once(isPath: boolean): (value: string, previous: unknown) => string {
  return (value, previous) => {
    if (previous !== undefined) throw new InvalidArgumentError('It is there twice.')
    if (isPath && value === '') throw new InvalidArgumentError('It is empty.')
    return value
  }
}

/** Those of `known` that are among the parsed flags. */
export function flagsAmong(known: readonly FlagHelp[], flags: Readonly<Record<string, unknown>>): string[] {
  return known
    .map(({ flag }) => new Option(flag))
    .filter(option => flags[option.attributeName()] !== undefined)
    .map(option => option.long ?? option.flags)
}

/** The first flag among the parsed ones that is not supported yet. `--seccomp false` asks for nothing. */
export function unsupportedFlag(flags: Readonly<Record<string, unknown>>): string | undefined {
  return unsupportedFlags
    .map(flag => new Option(flag))
    .find(option => {
      const value = flags[option.attributeName()]
      if (option.long === '--seccomp' && value === 'false') return false
      return value !== undefined
    })?.long
}
