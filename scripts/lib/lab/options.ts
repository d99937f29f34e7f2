import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { defaultProcessor } from './machine.ts'

export const kernels = ['custom', 'cloud'] as const
export type KernelChoice = (typeof kernels)[number]

export interface LabOptions {
  readonly memoryMib: number
  readonly cpus: number
  readonly processor: string
  /** Its processors run at the same time, each on a core of this machine. */
  readonly parallel: boolean
  /** Absent: the custom one where it is cached, else the distribution's. */
  readonly kernel?: KernelChoice
  readonly timeoutSeconds: number
  readonly disks: readonly string[]
  readonly out?: string
  /** The command gets this program's input. */
  readonly interactive: boolean
  /** Keep the console's log and say how long each step took. */
  readonly verbose: boolean
  readonly command: readonly [string, ...string[]]
}

export const usage = `usage: scripts/lab [option...] -- COMMAND [ARGUMENT...]
Runs the command, as root, in the checkout, in a virtual machine with a working /dev/kvm.
  --memory MIB       memory of the lab (6144)
  --cpus N           its processors (2)
  --processor MODEL  another one than the default, as QEMU's -cpu takes it
  --parallel         its processors run at the same time, each on a core of this machine: quicker, but now and then a guest
                     hangs or dies of that
  --kernel NAME      custom (the default where it is cached) or cloud, Debian's
  --timeout S        ends the lab after that many seconds (3600)
  --disk FILE        attaches a raw image as one more disk, /dev/vde and on; the file itself is not changed
  --out DIR          where the contents of $LAB_OUT are copied to afterwards
  --arch x86_64      the only one there is
  --interactive      hands this program's input to the command
  --verbose          shows the console of the lab and how long each step took
Exit code: the command's; 2 for wrong usage, 124 after the timeout, 125 when the lab itself failed.`

export class UsageError extends Error {}

export function parseOptions(args: readonly string[]): LabOptions {
  const end = args.indexOf('--')
  const [program, ...rest] = end < 0 ? [] : args.slice(end + 1)
  const values = parseFlags(end < 0 ? args : args.slice(0, end))
  if (program === undefined) throw new UsageError('no command; it comes after --')
  if (values.arch !== 'x86_64') throw new UsageError(`there is no lab for ${values.arch} yet, only for x86_64`)
  const kernel = kernels.find(name => name === values.kernel)
  if (values.kernel !== undefined && kernel === undefined) {
    throw new UsageError(`--kernel ${values.kernel}: there are ${kernels.join(' and ')}`)
  }
  return {
    memoryMib: positive('memory', values.memory),
    cpus: positive('cpus', values.cpus),
    processor: values.processor,
    parallel: values.parallel ?? false,
    ...(kernel === undefined ? {} : { kernel }),
    timeoutSeconds: positive('timeout', values.timeout),
    disks: (values.disk ?? []).map(file => resolve(file)),
    ...(values.out === undefined ? {} : { out: resolve(values.out) }),
    interactive: values.interactive ?? false,
    verbose: values.verbose ?? false,
    command: [program, ...rest],
  }
}

function parseFlags(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        arch: { type: 'string', default: 'x86_64' },
        memory: { type: 'string', default: '6144' },
        cpus: { type: 'string', default: '2' },
        processor: { type: 'string', default: defaultProcessor },
        parallel: { type: 'boolean' },
        kernel: { type: 'string' },
        timeout: { type: 'string', default: '3600' },
        disk: { type: 'string', multiple: true },
        out: { type: 'string' },
        interactive: { type: 'boolean' },
        verbose: { type: 'boolean' },
      },
    }).values
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

function positive(name: string, text: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < 1) throw new UsageError(`--${name} ${text}: not a positive whole number`)
  return value
}
