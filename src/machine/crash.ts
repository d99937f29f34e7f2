import type { VcpuStop } from '../hypervisor/hypervisor.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'

const reasons: Record<VcpuStop['kind'], string> = {
  shutdown: 'triple fault',
  'internal-error': 'the hypervisor could not go on',
  'fail-entry': 'the hypervisor could not enter the guest',
  'system-event': 'unexpected system event',
  'run-error': 'running the vCPU failed',
  unhandled: 'unexpected exit',
}

/** The error and the report of a vCPU that stopped by itself. */
export function crashOf(
  index: number,
  stop: VcpuStop,
  vcpu: { describeRegisters(): string } | undefined,
): { error: TsvmmError; report: string } {
  const detail = stop.detail.map(value => `0x${value.toString(16)}`).join(' ')
  const reason = `${reasons[stop.kind]} on vCPU ${index}${detail === '' ? '' : ` (${detail})`}`
  return { error: new TsvmmError('ERR_VM_CRASHED', { reason }), report: describe(vcpu) }
}

function describe(vcpu: { describeRegisters(): string } | undefined): string {
  try {
    return vcpu?.describeRegisters() ?? ''
  } catch (error) {
    return `registers unreadable: ${reasonOf(error)}`
  }
}
