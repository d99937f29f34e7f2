import type { LogForm } from '../util/log.ts'

/** Tools look for a thread, and for a place in the sources, of which we have but one. */
export const standInLogForm: LogForm = (seconds, level, message) =>
  `cloud-hypervisor: ${seconds}s: <vmm> ${level.toUpperCase()}:tsvmm:0 -- ${message}\r\n`

/** The last words: reasons from the outermost to the innermost. */
export function standInError(reasons: readonly string[]): string {
  const [first = '', ...causes] = reasons
  if (causes.length === 0) return `Error: Cloud Hypervisor exited with the following error:\n  ${first}`
  const lines = reasons.map((reason, level) => `  ${level}: ${reason}`)
  return ['Error: Cloud Hypervisor exited with the following chain of errors:', ...lines].join('\n')
}
