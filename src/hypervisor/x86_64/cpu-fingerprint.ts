import type { X86Cpu } from './cpu-schema.ts'
import { type CpuidEntry, type CpuidRegisters, CpuidTable } from './cpuid/entry.ts'
import { featureWords } from './cpuid/feature-names.ts'
import { cpuidText, physicalBits, vendorOf } from './cpuid/guest-cpuid.ts'
import { featureMsrIndices } from './feature-msrs.ts'

export interface X86CpuSource {
  readonly cpuid: readonly CpuidEntry[]
  /** As far as they can be read. */
  readonly msrs: ReadonlyMap<number, bigint>
  readonly tscKilohertz: number
}

/** What a guest was given. */
export function x86Cpu({ cpuid, msrs, tscKilohertz }: X86CpuSource): X86Cpu {
  const table = new CpuidTable(cpuid)
  const brand = brandOf(table)
  return {
    architecture: 'x86_64',
    vendor: vendorOf(table),
    ...signatureOf(table.get(0x1)?.eax ?? 0),
    ...(brand === '' ? {} : { brand }),
    physicalAddressBits: physicalBits(cpuid, 52),
    ...(tscKilohertz === 0 ? {} : { tscKilohertz }),
    xsave: xsaveOf(table),
    cpuid: Object.fromEntries(
      featureWords.flatMap(({ name, leaf, subleaf, register }) => {
        const value = table.get(leaf, subleaf)?.[register] ?? 0
        return value === 0 ? [] : [[name, `0x${value.toString(16)}`]]
      }),
    ),
    counts: countsOf(table),
    msrs: Object.fromEntries(
      featureMsrIndices
        .filter(index => isOffered(table, index) && msrs.has(index))
        .map(index => {
          return [`0x${index.toString(16)}`, `0x${(msrs.get(index) ?? 0n).toString(16)}`]
        }),
    ),
  }
}

/** Of the state that the guest may turn on. Leaf 0xd: subleaf 0 has the mask, the others sizes and offsets. */
export function xsaveOf(table: CpuidTable): X86Cpu['xsave'] {
  const { eax = 0, ecx = 0 } = table.get(0xd) ?? {}
  const components = table
    .subleaves(0xd)
    .filter(({ subleaf }) => subleaf >= 2 && subleaf < 32 && ((eax >>> subleaf) & 1) !== 0)
    .map(({ subleaf, eax: sizeBytes, ebx: offsetBytes }) => ({ component: subleaf, offsetBytes, sizeBytes }))
  return { sizeBytes: ecx, components }
}

interface Counted {
  readonly name: string
  readonly leaf: number
  readonly register: keyof CpuidRegisters
  readonly shift: number
  readonly mask: number
}

/** Intel SDM Vol. 2A, CPUID leaves 0xa and 0x24; AMD APM Vol. 3 §E.4.19. */
const counted: readonly Counted[] = [
  { name: 'performance monitoring version', leaf: 0xa, register: 'eax', shift: 0, mask: 0xff },
  { name: 'performance counters', leaf: 0xa, register: 'eax', shift: 8, mask: 0xff },
  { name: 'fixed performance counters', leaf: 0xa, register: 'edx', shift: 0, mask: 0x1f },
  { name: 'AVX10 version', leaf: 0x24, register: 'ebx', shift: 0, mask: 0xff },
  { name: 'core performance counters', leaf: 0x8000_0022, register: 'ebx', shift: 0, mask: 0xf },
]

/** Those that are not zero, by name. */
export function countsOf(table: CpuidTable): Record<string, number> {
  const counts = counted.map(({ name, leaf, register, shift, mask }) => {
    return [name, ((table.get(leaf)?.[register] ?? 0) >>> shift) & mask] as const
  })
  return Object.fromEntries(counts.filter(([, value]) => value !== 0))
}

const vmx = 1 << 5
const hasArchCapabilities = 1 << 29

/** Whether a guest would look at an MSR at all. */
function isOffered(table: CpuidTable, index: number): boolean {
  if (index === 0x10a) return ((table.get(0x7)?.edx ?? 0) & hasArchCapabilities) !== 0
  return index < 0x480 || index > 0x491 || ((table.get(0x1)?.ecx ?? 0) & vmx) !== 0
}

/** Intel SDM Vol. 2A, CPUID, figure 3-6: the extended fields count where the plain ones are full. */
function signatureOf(eax: number): { family: number; model: number; stepping: number } {
  const [family, model, stepping] = [(eax >>> 8) & 0xf, (eax >>> 4) & 0xf, eax & 0xf]
  const hasExtendedModel = family === 0x6 || family === 0xf
  return {
    family: family === 0xf ? family + ((eax >>> 20) & 0xff) : family,
    model: hasExtendedModel ? model + (((eax >>> 16) & 0xf) << 4) : model,
    stepping,
  }
}

function brandOf(table: CpuidTable): string {
  const words = [0x8000_0002, 0x8000_0003, 0x8000_0004].flatMap(leaf => {
    const { eax = 0, ebx = 0, ecx = 0, edx = 0 } = table.get(leaf) ?? {}
    return [eax, ebx, ecx, edx]
  })
  return cpuidText(words).trim()
}
