import { consecutive, Layout } from '../../util/bytes.ts'

/** struct kvm_cpuid_entry2. */
const cpuidEntry = new Layout(40, consecutive(['leaf', 'subleaf', 'flags', 'eax', 'ebx', 'ecx', 'edx'], 4))
const significantSubleaf = 1

export interface CpuidEntry {
  leaf: number
  subleaf: number
  flags: number
  eax: number
  ebx: number
  ecx: number
  edx: number
}

/** Threads, cores, dies and packages; their product is the largest number of vCPUs. */
export interface CpuTopology {
  readonly threadsPerCore: number
  readonly coresPerDie: number
  readonly diesPerPackage: number
  readonly packages: number
}

export interface CpuidOptions {
  readonly topology: CpuTopology
  readonly maximumPhysicalBits: number
  readonly amx: boolean
  /** Whether the guest may itself use virtualization. */
  readonly nested: boolean
}

export function decodeCpuid(bytes: Uint8Array): CpuidEntry[] {
  const entries: CpuidEntry[] = []
  for (let base = 0; base + cpuidEntry.sizeBytes <= bytes.length; base += cpuidEntry.sizeBytes) {
    const field = (name: string) => cpuidEntry.readNumber(bytes, name, base)
    entries.push({
      ...{ leaf: field('leaf'), subleaf: field('subleaf'), flags: field('flags') },
      ...{ eax: field('eax'), ebx: field('ebx'), ecx: field('ecx'), edx: field('edx') },
    })
  }
  return entries
}

export function encodeCpuid(entries: readonly CpuidEntry[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(entries.length * cpuidEntry.sizeBytes)
  entries.forEach((entry, index) => {
    cpuidEntry.write(bytes, { ...entry }, index * cpuidEntry.sizeBytes)
  })
  return bytes
}

/** Address bits of the guest: what host and owner allow. */
export function physicalBits(host: readonly CpuidEntry[], maximum: number): number {
  const leaf = host.find(entry => entry.leaf === 0x8000_0008)
  return Math.min(maximum, leaf === undefined ? 36 : leaf.eax & 0xff)
}

function bitsFor(count: number): number {
  return count <= 1 ? 0 : 32 - Math.clz32(count - 1)
}

interface TopologyShifts {
  readonly core: number
  readonly die: number
  readonly package: number
}

function shiftsOf(topology: CpuTopology): TopologyShifts {
  const core = bitsFor(topology.threadsPerCore)
  const die = core + bitsFor(topology.coresPerDie)
  return { core, die, package: die + bitsFor(topology.diesPerPackage) }
}

/** The APIC id of a vCPU: each level of the topology has a bit field of its own (Intel SDM Vol. 3A §9.9.1). */
export function apicIdOf(index: number, topology: CpuTopology): number {
  const shifts = shiftsOf(topology)
  const { threadsPerCore, coresPerDie, diesPerPackage } = topology
  const thread = index % threadsPerCore
  const core = Math.floor(index / threadsPerCore) % coresPerDie
  const die = Math.floor(index / (threadsPerCore * coresPerDie)) % diesPerPackage
  const cpuPackage = Math.floor(index / (threadsPerCore * coresPerDie * diesPerPackage))
  return thread | (core << shifts.core) | (die << shifts.die) | (cpuPackage << shifts.package)
}

const feature = {
  x2apic: 1 << 21,
  tscDeadline: 1 << 24,
  hypervisor: 1 << 31,
  hyperThreading: 1 << 28,
  vmx: 1 << 5,
  svm: 1 << 2,
  amx: (1 << 22) | (1 << 24) | (1 << 25),
} as const

/**
 * What CPUID answers on one vCPU: the host's supported leaves (which KVM has filtered to what it can do), made to tell the
 * guest's topology. Intel SDM Vol. 2A CPUID, AMD APM Vol. 3 appendix E.
 */
export function guestCpuid(host: readonly CpuidEntry[], index: number, options: CpuidOptions): CpuidEntry[] {
  const { topology } = options
  const apicId = apicIdOf(index, topology)
  const shifts = shiftsOf(topology)
  const perPackage = topology.threadsPerCore * topology.coresPerDie * topology.diesPerPackage
  const entries = host.filter(entry => entry.leaf !== 0xb && entry.leaf !== 0x1f).map(entry => ({ ...entry }))
  for (const entry of entries) {
    switch (entry.leaf) {
      case 0x1:
        entry.ebx = (entry.ebx & 0xffff) | ((1 << shifts.package) << 16) | (apicId << 24)
        entry.ecx |= feature.x2apic | feature.tscDeadline | feature.hypervisor
        if (!options.nested) entry.ecx &= ~feature.vmx
        entry.edx = perPackage > 1 ? entry.edx | feature.hyperThreading : entry.edx & ~feature.hyperThreading
        break
      case 0x4:
        shareCache(entry, shifts)
        entry.eax = (entry.eax & 0x03ff_ffff) | (((1 << (shifts.package - shifts.core)) - 1) << 26)
        break
      case 0x7:
        if (entry.subleaf === 0 && !options.amx) entry.edx &= ~feature.amx
        break
      case 0x8000_0001:
        if (!options.nested) entry.ecx &= ~feature.svm
        break
      case 0x8000_0008:
        entry.eax = (entry.eax & ~0xff) | physicalBits(host, options.maximumPhysicalBits)
        entry.ecx = (entry.ecx & ~0xf0ff) | (shifts.package << 12) | (perPackage - 1)
        break
      case 0x8000_001d:
        shareCache(entry, shifts)
        break
      case 0x8000_001e:
        entry.eax = apicId
        entry.ebx = ((topology.threadsPerCore - 1) << 8) | (apicId >> shifts.core)
        entry.ecx = 0
        break
    }
  }
  for (const leaf of extendedTopologyLeaves(host)) entries.push(...extendedTopology(leaf, apicId, topology, shifts))
  return entries
}

/** First and second level caches belong to a core, the third to a die. */
function shareCache(entry: CpuidEntry, shifts: TopologyShifts): void {
  const level = (entry.eax >> 5) & 0x7
  const sharing = (1 << (level >= 3 ? shifts.die : shifts.core)) - 1
  entry.eax = (entry.eax & ~(0xfff << 14)) | (Math.min(sharing, 0xfff) << 14)
}

/** 0x1f only where the host's CPU knows it; 0xb always, since x2APIC ids come from there. */
function extendedTopologyLeaves(host: readonly CpuidEntry[]): number[] {
  const highest = host.find(entry => entry.leaf === 0)?.eax ?? 0
  return highest >= 0x1f ? [0xb, 0x1f] : highest >= 0xb ? [0xb] : []
}

function extendedTopology(leaf: number, apicId: number, topology: CpuTopology, shifts: TopologyShifts): CpuidEntry[] {
  const { threadsPerCore, coresPerDie, diesPerPackage } = topology
  const threads = { type: 1, shift: shifts.core, processors: threadsPerCore }
  const perPackage = threadsPerCore * coresPerDie * diesPerPackage
  // Leaf 0xb knows threads and cores only; 0x1f tells dies apart.
  const levels =
    leaf === 0xb
      ? [threads, { type: 2, shift: shifts.package, processors: perPackage }]
      : [
          threads,
          { type: 2, shift: shifts.die, processors: threadsPerCore * coresPerDie },
          { type: 5, shift: shifts.package, processors: perPackage },
        ]
  const described = levels.map(({ type, shift, processors }, subleaf) => ({
    ...{ leaf, subleaf, flags: significantSubleaf },
    ...{ eax: shift, ebx: processors, ecx: (type << 8) | subleaf, edx: apicId },
  }))
  const end = { eax: 0, ebx: 0, ecx: levels.length, edx: apicId }
  return [...described, { leaf, subleaf: levels.length, flags: significantSubleaf, ...end }]
}
