import { existsSync, readFileSync } from 'node:fs'

/** Whether KVM can run a distribution's kernel on this machine; elsewhere the nested lab does. */
export function canVirtualize(): boolean {
  return existsSync('/dev/kvm') && /\b(vmx|svm)\b/.test(readFileSync('/proc/cpuinfo', 'utf8'))
}
