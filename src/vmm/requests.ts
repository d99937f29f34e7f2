import type { ErrorCode } from '../util/errors.ts'

/**
 * The life of a machine as its owner sees it; the names are those of the API. `moving`: it stands still because it is handed
 * over to another host, or by one, and only that decides where it goes on.
 */
export type VmState = 'created' | 'running' | 'paused' | 'moving' | 'shutdown'

export type VmRequest =
  | 'boot'
  | 'pause'
  | 'resume'
  | 'reboot'
  | 'shutdown'
  | 'power-button'
  | 'nmi'
  | 'snapshot'
  | 'inspect'
  | 'coredump'
  | 'add-device'
  | 'remove-device'
  | 'resize-disk'
  | 'send-migration'

/** `accept`: carry it out; `already`: the machine is there, nothing to do; `deny`: an error. */
export type Verdict = 'accept' | 'already' | 'deny'

const verdicts: Record<VmRequest, Record<VmState, Verdict>> = {
  boot: { created: 'accept', running: 'already', paused: 'deny', moving: 'deny', shutdown: 'deny' },
  pause: { created: 'deny', running: 'accept', paused: 'already', moving: 'deny', shutdown: 'deny' },
  resume: { created: 'deny', running: 'already', paused: 'accept', moving: 'deny', shutdown: 'deny' },
  reboot: { created: 'deny', running: 'accept', paused: 'accept', moving: 'deny', shutdown: 'deny' },
  shutdown: { created: 'accept', running: 'accept', paused: 'accept', moving: 'accept', shutdown: 'already' },
  'power-button': { created: 'deny', running: 'accept', paused: 'deny', moving: 'deny', shutdown: 'deny' },
  nmi: { created: 'deny', running: 'accept', paused: 'deny', moving: 'deny', shutdown: 'deny' },
  snapshot: { created: 'deny', running: 'accept', paused: 'accept', moving: 'deny', shutdown: 'deny' },
  inspect: { created: 'deny', running: 'accept', paused: 'accept', moving: 'deny', shutdown: 'deny' },
  coredump: { created: 'deny', running: 'accept', paused: 'accept', moving: 'deny', shutdown: 'deny' },
  'send-migration': { created: 'deny', running: 'accept', paused: 'accept', moving: 'deny', shutdown: 'deny' },
  'add-device': { created: 'accept', running: 'accept', paused: 'accept', moving: 'deny', shutdown: 'deny' },
  'remove-device': { created: 'accept', running: 'accept', paused: 'accept', moving: 'deny', shutdown: 'deny' },
  'resize-disk': { created: 'accept', running: 'accept', paused: 'accept', moving: 'deny', shutdown: 'deny' },
}

/** What would take from a migration what it needs, as the news of which pages were written. */
const notDuringMigration: readonly VmRequest[] = [
  ...(['snapshot', 'coredump', 'send-migration', 'add-device', 'remove-device', 'resize-disk'] as const),
]

/** `isMigrating`: memory of the machine is on its way to another host. */
export function judge(request: VmRequest, state: VmState, isMigrating = false): Verdict {
  return isMigrating && notDuringMigration.includes(request) ? 'deny' : verdicts[request][state]
}

/**
 * Where a VMM is between two requests: it has no machine, waits for one from another host, or has the configuration of one, or one
 * that runs, is paused or is handed over to another host.
 */
export type VmmState = SettledState | 'receiving' | 'moving'

type SettledState = 'absent' | 'created' | 'running' | 'paused'

export type VmmRequest = VmRequest | 'create' | 'delete' | 'restore' | 'receive-migration'

/** As Verdict, and more is asked for than of a machine: where `deny` would do, the error that says what to do first. */
export type VmmVerdict = Verdict | ErrorCode

const notCreated = 'ERR_VM_NOT_CREATED'
const notRunning = 'ERR_VM_NOT_RUNNING'

/**
 * Cloud Hypervisor's answers: asking for what is there already is an error, booting a paused machine resumes it, and
 * there being no machine is told apart only by the requests that need a configuration.
 */
const vmmVerdicts: Record<VmmRequest, Record<SettledState, VmmVerdict>> = {
  create: { absent: 'accept', created: 'ERR_VM_EXISTS', running: 'ERR_VM_EXISTS', paused: 'ERR_VM_EXISTS' },
  boot: { absent: notCreated, created: 'accept', running: 'deny', paused: 'accept' },
  pause: { absent: notRunning, created: notRunning, running: 'accept', paused: 'deny' },
  resume: { absent: notRunning, created: notRunning, running: 'deny', paused: 'accept' },
  reboot: { absent: notCreated, created: notCreated, running: 'accept', paused: 'accept' },
  shutdown: { absent: notRunning, created: notRunning, running: 'accept', paused: 'accept' },
  'power-button': { absent: notRunning, created: notRunning, running: 'accept', paused: 'deny' },
  nmi: { absent: notRunning, created: notRunning, running: 'accept', paused: 'deny' },
  snapshot: { absent: notRunning, created: notRunning, running: 'accept', paused: 'accept' },
  inspect: { absent: notRunning, created: notRunning, running: 'accept', paused: 'accept' },
  coredump: { absent: notRunning, created: notRunning, running: 'accept', paused: 'accept' },
  'add-device': { absent: notCreated, created: 'accept', running: 'accept', paused: 'accept' },
  'remove-device': { absent: notCreated, created: 'accept', running: 'accept', paused: 'accept' },
  'resize-disk': { absent: notCreated, created: notRunning, running: 'accept', paused: 'accept' },
  restore: { absent: 'accept', created: 'ERR_VM_EXISTS', running: 'ERR_VM_EXISTS', paused: 'ERR_VM_EXISTS' },
  'send-migration': { absent: notRunning, created: notRunning, running: 'accept', paused: 'accept' },
  'receive-migration': {
    ...{ absent: 'accept', created: 'ERR_VM_EXISTS', running: 'ERR_VM_EXISTS', paused: 'ERR_VM_EXISTS' },
  },
  delete: { absent: 'already', created: 'accept', running: 'accept', paused: 'accept' },
}

/** What ends a machine that is handed over, wherever it may be. */
const endings: readonly VmmRequest[] = ['shutdown', 'delete']

export function judgeVmm(request: VmmRequest, state: VmmState): VmmVerdict {
  if (state === 'receiving') return 'deny'
  if (state === 'moving') return endings.includes(request) ? 'accept' : 'deny'
  return vmmVerdicts[request][state]
}
