import type { ErrorCode } from '../util/errors.ts'

/** The life of a machine as its owner sees it; the names are those of the API. */
export type VmState = 'created' | 'running' | 'paused' | 'shutdown'

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
  | 'add-device'
  | 'remove-device'

/** `accept`: carry it out; `already`: the machine is there, nothing to do; `deny`: an error. */
export type Verdict = 'accept' | 'already' | 'deny'

const verdicts: Record<VmRequest, Record<VmState, Verdict>> = {
  boot: { created: 'accept', running: 'already', paused: 'deny', shutdown: 'deny' },
  pause: { created: 'deny', running: 'accept', paused: 'already', shutdown: 'deny' },
  resume: { created: 'deny', running: 'already', paused: 'accept', shutdown: 'deny' },
  reboot: { created: 'deny', running: 'accept', paused: 'accept', shutdown: 'deny' },
  shutdown: { created: 'accept', running: 'accept', paused: 'accept', shutdown: 'already' },
  'power-button': { created: 'deny', running: 'accept', paused: 'deny', shutdown: 'deny' },
  nmi: { created: 'deny', running: 'accept', paused: 'deny', shutdown: 'deny' },
  snapshot: { created: 'deny', running: 'accept', paused: 'accept', shutdown: 'deny' },
  inspect: { created: 'deny', running: 'accept', paused: 'accept', shutdown: 'deny' },
  'add-device': { created: 'accept', running: 'accept', paused: 'accept', shutdown: 'deny' },
  'remove-device': { created: 'accept', running: 'accept', paused: 'accept', shutdown: 'deny' },
}

export function judge(request: VmRequest, state: VmState): Verdict {
  return verdicts[request][state]
}

/** Where a VMM is between two requests: it has no machine, the configuration of one, or one that runs or is paused. */
export type VmmState = 'absent' | 'created' | 'running' | 'paused'

export type VmmRequest = VmRequest | 'create' | 'delete' | 'restore'

/** As Verdict, and more is asked for than of a machine: where `deny` would do, the error that says what to do first. */
export type VmmVerdict = Verdict | ErrorCode

const notCreated = 'ERR_VM_NOT_CREATED'
const notRunning = 'ERR_VM_NOT_RUNNING'

/**
 * Cloud Hypervisor's answers: asking for what is there already is an error, booting a paused machine resumes it, and
 * there being no machine is told apart only by the requests that need a configuration.
 */
const vmmVerdicts: Record<VmmRequest, Record<VmmState, VmmVerdict>> = {
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
  'add-device': { absent: notCreated, created: 'accept', running: 'accept', paused: 'accept' },
  'remove-device': { absent: notCreated, created: 'accept', running: 'accept', paused: 'accept' },
  restore: { absent: 'accept', created: 'ERR_VM_EXISTS', running: 'ERR_VM_EXISTS', paused: 'ERR_VM_EXISTS' },
  delete: { absent: 'already', created: 'accept', running: 'accept', paused: 'accept' },
}

export function judgeVmm(request: VmmRequest, state: VmmState): VmmVerdict {
  return vmmVerdicts[request][state]
}
