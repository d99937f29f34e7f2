import type { Vcpu } from '../hypervisor/hypervisor.ts'
import { type Kvm, kvmCapabilities } from '../hypervisor/kvm.native.ts'
import { cpuObstacles } from '../hypervisor/x86_64/cpu-match.ts'
import type { X86Cpu } from '../hypervisor/x86_64/cpu-schema.ts'
import type { CpuidEntry } from '../hypervisor/x86_64/cpuid/entry.ts'
import { featureMsrIndices } from '../hypervisor/x86_64/feature-msrs.ts'
import { readMsrs } from '../hypervisor/x86_64/msrs.ts'
import { TsvmmError } from '../util/errors.ts'
import type { CpuFingerprint } from './cpu-fingerprint.ts'

/** `vcpu` is a new one. Throws ERR_CPU_MISSING, with everything that a guest with this CPU would miss here, by name. */
export function requireCpu(cpu: CpuFingerprint, kvm: Kvm, cpuid: readonly CpuidEntry[], vcpu: Vcpu): X86Cpu {
  if (cpu.architecture !== 'x86_64') {
    throw new TsvmmError('ERR_CPU_MISSING', { reason: `it is of ${cpu.architecture}, this host is x86_64` })
  }
  const obstacles = cpuObstacles(cpu, {
    cpuid,
    msrs: readMsrs(kvm, Uint32Array.from(featureMsrIndices)),
    tscKilohertz: vcpu.tscKilohertz(),
    scalesTsc: kvm.checkExtension(kvmCapabilities.tscControl) > 0,
  })
  if (obstacles.length > 0) throw new TsvmmError('ERR_CPU_MISSING', { reason: obstacles.join('; ') })
  return cpu
}
