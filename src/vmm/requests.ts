/** The life of a machine as its owner sees it; the names are those of the API. */
export type VmState = 'created' | 'running' | 'paused' | 'shutdown'

export type VmRequest = 'boot' | 'pause' | 'resume' | 'reboot' | 'shutdown' | 'power-button' | 'nmi'

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
}

export function judge(request: VmRequest, state: VmState): Verdict {
  return verdicts[request][state]
}
