import * as z from 'zod/mini'
import { x86CpuSchema } from '../hypervisor/x86_64/cpu-schema.ts'
import { cpuFeatures, cpuLine } from '../hypervisor/x86_64/cpu-text.ts'

/** The CPU of a guest, whatever its architecture: what another host must have for the guest to go on there. */
export const cpuSchema = z.discriminatedUnion('architecture', [
  x86CpuSchema,
  // None is written yet; tools of this release can still say whose it is.
  z.looseObject({ architecture: z.literal('aarch64') }),
])

export type CpuFingerprint = z.output<typeof cpuSchema>

/** For people: what it is, in a line, and the names of what it has. */
export function describeCpu(cpu: CpuFingerprint): { line: string; features: readonly string[] } {
  return cpu.architecture === 'x86_64'
    ? { line: cpuLine(cpu), features: cpuFeatures(cpu) }
    : { line: cpu.architecture, features: [] }
}

/** The same where the guest's time stamp counter may run at the rate of whatever host it is on. */
export function atAnyTscRate(cpu: CpuFingerprint): CpuFingerprint {
  if (cpu.architecture !== 'x86_64') return cpu
  const { tscKilohertz, ...rest } = cpu
  return rest
}
