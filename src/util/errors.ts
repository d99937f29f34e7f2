/**
 * Every error a user can meet, in one table. A code is never renamed or reused; its template says what is wrong and,
 * where a value or place is known, names it in `{braces}`. `exitCode` is what the CLI ends with: 2 for usage, else 1.
 */
const table = {
  ERR_USAGE: { template: '{message}', exitCode: 2 },
  ERR_OPTION_INVALID: { template: '{option}: {reason}', exitCode: 2 },
  ERR_CONFIG_INVALID: { template: '{option}: {reason}', exitCode: 1 },
  ERR_ADDON: { template: 'native addon: {reason}', exitCode: 1 },
  ERR_HYPERVISOR_OPEN: { template: 'cannot open {path}: {reason}', exitCode: 1 },
  ERR_HYPERVISOR: { template: 'hypervisor: {operation}: {reason}', exitCode: 1 },
  ERR_KERNEL_OPEN: { template: '{option} {path}: {reason}', exitCode: 1 },
  ERR_KERNEL_FORMAT: { template: '{option} {path}: {reason}', exitCode: 1 },
  ERR_KERNEL_NO_PVH_NOTE: { template: '{option} {path}: this ELF has no PVH entry note; {reason}', exitCode: 1 },
  ERR_KERNEL_TOO_LARGE: { template: '{option} {path}: {reason}', exitCode: 1 },
  ERR_INITRAMFS: { template: '--initramfs {path}: {reason}', exitCode: 1 },
  ERR_CMDLINE: { template: '--cmdline: {reason}', exitCode: 1 },
  ERR_MEMORY: { template: '--memory: {reason}', exitCode: 1 },
  ERR_CPUS: { template: '--cpus: {reason}', exitCode: 1 },
  ERR_CPU_MISSING: { template: 'this host cannot give the guest its CPU: {reason}', exitCode: 1 },
  ERR_DISK: { template: '--disk {path}: {reason}', exitCode: 1 },
  ERR_DISK_LOCKED: {
    template: '--disk {path}: locked by another process; only readonly=on may be shared, by readers alone',
    exitCode: 1,
  },
  ERR_NET: { template: '--net {tap}: {reason}', exitCode: 1 },
  ERR_RNG: { template: '--rng {path}: {reason}', exitCode: 1 },
  ERR_CHARDEV: { template: '{option} {path}: {reason}', exitCode: 1 },
  ERR_BUS_OVERLAP: { template: '{name} at {range} overlaps {other}', exitCode: 1 },
  ERR_RESOURCE_EXHAUSTED: { template: 'no {what} left: {reason}', exitCode: 1 },
  ERR_VIRTQUEUE: { template: '{device}: queue {queue}: {reason}', exitCode: 1 },
  ERR_VM_STATE: { template: 'cannot {operation}: the machine is {state}', exitCode: 1 },
  ERR_VM_NOT_CREATED: { template: 'there is no machine: create one first', exitCode: 1 },
  ERR_VM_EXISTS: { template: 'there is a machine already: delete it first', exitCode: 1 },
  ERR_VM_NOT_RUNNING: { template: 'the machine is not running: boot it first', exitCode: 1 },
  ERR_DEVICE_UNKNOWN: { template: 'there is no device {id}', exitCode: 1 },
  ERR_DEVICE_FIXED: { template: '{id} cannot be removed: only disks and network cards can', exitCode: 1 },
  ERR_DEVICE_SIZE: { template: '{id} cannot be resized: {reason}', exitCode: 1 },
  ERR_VM_CRASHED: { template: 'the guest stopped: {reason}', exitCode: 1 },
  ERR_STATE_PINNED: { template: '{component} cannot travel: {reason}', exitCode: 1 },
  ERR_STATE_INVALID: { template: '{component}: {reason}', exitCode: 1 },
  ERR_MEMORY_IMAGE: { template: 'memory of the snapshot: {reason}', exitCode: 1 },
  ERR_SNAPSHOT: { template: 'snapshot {path}: {reason}', exitCode: 1 },
  ERR_CORE_DUMP: { template: 'core dump {path}: {reason}', exitCode: 1 },
  ERR_MIGRATION_ADDRESS: { template: '{url} {reason}', exitCode: 1 },
  ERR_MIGRATION: { template: 'migration: {reason}', exitCode: 1 },
  ERR_MIGRATION_UNKNOWN: { template: 'no migration {id} is in doubt here', exitCode: 1 },
  ERR_CLONES: { template: 'clones: {reason}', exitCode: 1 },
  ERR_API_SOCKET: { template: '--api-socket {path}: {reason}', exitCode: 1 },
  ERR_API_REQUEST: { template: '{reason}', exitCode: 1 },
  ERR_API_ANSWER: { template: '{path}: {reason}', exitCode: 1 },
  ERR_MACHINE_UNKNOWN: { template: '{reason}: tsvmm ps lists the machines of this host', exitCode: 1 },
  ERR_CONSOLE: { template: 'console: {reason}', exitCode: 1 },
  ERR_EVENT_MONITOR: { template: '--event-monitor {path}: {reason}', exitCode: 1 },
  ERR_NOT_SUPPORTED: { template: '{what} is not supported yet', exitCode: 1 },
  ERR_ABORTED: { template: '{operation} was aborted', exitCode: 1 },
} as const

export type ErrorCode = keyof typeof table

/** A failure with a stable `code` and a one-line message; what caused it, if anything, is in `cause`. */
export class TsvmmError extends Error {
  readonly code: ErrorCode
  /** The values named in the message, for programs. */
  readonly details: Readonly<Record<string, string | number>>

  constructor(code: ErrorCode, details: Record<string, string | number>, options?: ErrorOptions) {
    super(
      table[code].template.replaceAll(/\{(\w+)\}/g, (_, key: string) => String(details[key] ?? '?')),
      options,
    )
    this.name = 'TsvmmError'
    this.code = code
    this.details = details
  }

  get exitCode(): number {
    return table[this.code].exitCode
  }
}

/** Whether an unknown thrown value is an error with this code, of the system (`EAGAIN`) or of a table. */
export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

/** What an unknown thrown value says, in one line. System errors lose the noise that Node wraps around them. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const firstLine = error.message.split('\n', 1)[0] ?? error.name
  const system = /^E[A-Z0-9]+: (.*?), \w+( '.*')?$/.exec(firstLine)
  return system?.[1] ?? firstLine
}

/** Deeper chains than anybody reads. */
const maximumDepth = 16

/** What an unknown thrown value says, and what each of its causes does, the innermost last. */
export function reasonsOf(error: unknown): string[] {
  const reasons = [reasonOf(error)]
  let cause = error instanceof Error ? error.cause : undefined
  while (cause !== undefined && reasons.length < maximumDepth) {
    reasons.push(reasonOf(cause))
    cause = cause instanceof Error ? cause.cause : undefined
  }
  return reasons
}
